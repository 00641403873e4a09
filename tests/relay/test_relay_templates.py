"""Messages in the operator's own words; a mistake is found at the start, and what is missed costs no message."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests
from relay_harness import Relay, Telex, notification, spend_alert

from exporter.relay.alertmanager import Notification
from exporter.relay.main import read_templates, serve
from exporter.relay.message import Links, render
from exporter.relay.metrics import RelayMetrics
from exporter.relay.settings import RelayConfigError, RelaySettings
from exporter.relay.templating import NAMES, Templates


def own(folder: Path, text: str, name: str = "alert") -> dict[str, str]:
    path = folder / f"{name}.j2"
    path.write_text(text)
    return {name: str(path)}


def checked(**templates: Any) -> Templates:
    return read_templates(RelaySettings(templates=templates), RelayMetrics(()))


def rendered(templates: Templates, *alerts: dict[str, Any]) -> str:
    read = Notification.model_validate_json(json.dumps(notification(*alerts)))
    return render(read, Links("https://grafana.example/d/aws"), 4096, 10, templates).parts[0]


def test_an_own_template_replaces_the_text(tmp_path: Path) -> None:
    text = (
        "{{ title }}: {% for alert in alerts %}{{ alert.subject }} spent {{ alert.spend | usd }}"
        " ({{ alert.ratio | percent }}) since {{ alert.since | moment }}, {{ alert.labels.scope }}."
        "{% endfor %}\n\n{% for line in links %}\n{{ line }}\n{% endfor %}\n"
    )
    assert rendered(checked(**own(tmp_path, text))) == (
        "AWS daily spend above threshold: prod (111111111111) spent $1,532.20 (153%)"
        " since 2026-01-05 14:02 UTC, account.\nDashboard: https://grafana.example/d/aws\n"
        "Runbook: docs/runbook.md#accountdailyspendabovethreshold"
    )


@pytest.mark.parametrize(
    "expression",
    [
        "alert.labels.account",
        "alert.labels.account | upper",
        "alert.labels.account | safe",
        "alert.labels.account ~ ''",
        "alert.annotations['account'] | replace('x', 'y')",
        "[alert.labels.account]",
    ],
)
def test_no_expression_brings_markup_out_of_a_label(tmp_path: Path, expression: str) -> None:
    text = f"x{{% for alert in alerts %}}{{{{ {expression} }}}}{{% endfor %}}"
    alert = spend_alert("<b>[a](https://evil.example)</b> @all *")
    shown = rendered(checked(**own(tmp_path, text)), alert)
    assert not set("<>*@") & set(shown)
    assert "](" not in shown
    assert "://" not in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% for alert in alerts %}", "alert.j2, line 1: Unexpected end of template"),
        ("a\n{{ alerts | nope }}", "alert.j2, line 2: No filter named 'nope'."),
        ("a\n\n{{ amount }}", "relay.templates.alert: line 3: UndefinedError: 'amount' is undefined"),
        ("x{% for alert in alerts %}{{ alert.spent }}{% endfor %}", "has no attribute 'spent'"),
        ("x{{ alerts[0].status }}", "list object has no element 0"),  # so many that none fits
        (
            "x{% for alert in alerts %}{{ alert.spend + 1 }}{% endfor %}",
            "TypeError",
        ),  # an alert without spend
        ("{# nothing #}", "it renders to nothing"),
        ("{{ title.__class__.__mro__ }}", "SecurityError"),
    ],
)
def test_a_mistake_is_an_error_at_the_start(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RelayConfigError) as error:
        checked(**own(tmp_path, text))
    assert str(error.value).startswith("relay.templates.alert: ")
    assert said in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_in_any_template_ends_the_relay_with_2(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    settings = RelaySettings(
        channels={"default": {"url_env": "U"}}, templates=own(tmp_path, "{{ nothing_of_this_name }}", name)
    )
    assert serve(settings, environ={"U": "https://telex.example/x"}) == 2
    assert vars(caplog.records[-1])["reason"] == (
        f"relay.templates.{name}: line 1: UndefinedError: 'nothing_of_this_name' is undefined"
    )


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RelayConfigError, match=r"relay\.templates\.digest: cannot read .*: No such file"):
        checked(digest=tmp_path / "none")


@pytest.mark.parametrize("name", NAMES)
def test_the_built_in_templates_are_files_to_start_from(tmp_path: Path, name: str) -> None:
    source = Path(Templates.__init__.__code__.co_filename).parent / "templates" / f"{name}.txt.j2"
    assert checked(**own(tmp_path, source.read_text(), name))


@pytest.mark.fault(
    "an operator's template that fails on a message", "the built-in text goes out, and it is counted"
)
def test_a_template_that_fails_on_a_message_does_not_lose_it(
    start_relay: Any, telex: Telex, tmp_path: Path
) -> None:
    text = "x{% for alert in alerts %}{{ 1 // (alert.subject | length - 3) }}{% endfor %}"
    relay: Relay = start_relay(templates=own(tmp_path, text))
    alert = spend_alert()
    alert["labels"] = alert["annotations"] = {"account": "abc", "alertname": "Plain"}
    assert relay.post(notification(alert)).status_code == 200
    assert telex.messages[0].startswith("FIRING: Plain\nAccount: abc\n")
    metrics = requests.get(f"{relay.base}/metrics", timeout=5).text
    assert 'aws_spend_exporter_relay_template_failures_total{template="alert"} 1.0' in metrics
    assert "ZeroDivisionError" in relay.log.read_text()
