"""What a reader of the channel sees."""

import json
import math
import re
import sys
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from relay_harness import notification, spend_alert

from exporter.relay.alertmanager import Notification
from exporter.relay.message import Links, Message, render, split, values
from exporter.relay.neutral import neutralise
from exporter.relay.templating import Templates


def rendered(payload: dict[str, Any], links: Links = Links(), limit: int = 4096) -> Message:  # noqa: B008 - frozen
    return render(Notification.model_validate_json(json.dumps(payload)), links, limit, 10, Templates())


def test_one_alert_names_title_account_spend_threshold_status_since_and_links() -> None:
    links = Links("https://grafana.example/d/aws", "https://docs.example/runbook")
    assert rendered(notification(), links) == Message(
        "AWS daily spend above threshold",
        "error",
        (
            "FIRING: AWS daily spend above threshold\n"
            "Account: prod (111111111111)\n"
            "Spend: $1,532.20 in a day\n"
            "Threshold: $1,000.00, spend is 153% of it\n"
            "Status: firing (warning)\n"
            "Since: 2026-01-05 14:02 UTC\n"
            "Today so far $1,532.20. Yesterday $900.00.\n"
            "Dashboard: https://grafana.example/d/aws\n"
            "Runbook: https://docs.example/runbook#accountdailyspendabovethreshold",
        ),
    )


def test_several_alerts_are_one_message_firing_first_common_links_once() -> None:
    resolved = spend_alert(
        "dev",
        "222222222222",
        status="resolved",
        endsAt="2026-01-05T15:00:00Z",
        startsAt="2026-01-05T13:00:00+01:00",
    )
    assert rendered(notification(resolved, spend_alert())).parts == (
        "FIRING: AWS daily spend above threshold (1 firing, 1 resolved)\n"
        "\n"
        "Account: prod (111111111111)\n"
        "Spend: $1,532.20 in a day\n"
        "Threshold: $1,000.00, spend is 153% of it\n"
        "Status: firing (warning)\n"
        "Since: 2026-01-05 14:02 UTC\n"
        "Today so far $1,532.20. Yesterday $900.00.\n"
        "\n"
        "Account: dev (222222222222)\n"
        "Spend: $1,532.20 in a day\n"
        "Threshold: $1,000.00, spend is 153% of it\n"
        "Status: resolved (warning)\n"
        "Since: 2026-01-05 12:00 UTC, until 2026-01-05 15:00 UTC\n"
        "Today so far $1,532.20. Yesterday $900.00.\n"
        "\n"
        "Alertmanager: http://alertmanager:9093\n"
        "Runbook: docs/runbook.md#accountdailyspendabovethreshold",
    )


def test_a_resolved_group_is_a_success() -> None:
    message = rendered(notification(spend_alert(status="resolved")))
    assert (message.status, message.parts[0].splitlines()[0]) == (
        "success",
        "RESOLVED: AWS daily spend above threshold",
    )


def test_an_alert_of_somebody_else_is_readable() -> None:
    alert = spend_alert(labels={"alertname": "DiskFull", "host": "db_1"}, annotations={})
    assert rendered(notification(alert, externalURL="")).parts == (
        "FIRING: DiskFull\nStatus: firing\nSince: 2026-01-05 14:02 UTC\nhost: db_1",
    )


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        ({"scope": "ou", "ou": "/Workloads", "subject": "OU /Workloads"}, "Subject: OU /Workloads"),
        ({"scope": "group", "subject": "team <b>platform"}, "Subject: team ‹b›platform"),
        ({"scope": "service", "service": "Amazon EC2", "subject": "Amazon EC2"}, "Subject: Amazon EC2"),
        (
            {
                "scope": "account_service", "account": "dev", "account_id": "222222222222",
                "subject": "AWS Lambda of dev (222222222222)",
            },
            "Subject: AWS Lambda of dev (222222222222)",
        ),
        ({"scope": "organization", "subject": "all accounts"}, "Account: all accounts of the organization"),
        (
            {"scope": "account", "account": "dev", "account_id": "222222222222", "subject": "dev (222222222222)"},
            "Account: dev (222222222222)",
        ),
        ({"account_id": "222222222222", "subject": "CN=somebody else's"}, "Account: 222222222222"),
    ],
)  # fmt: skip
def test_a_message_names_what_it_is_about(labels: dict[str, str], line: str) -> None:
    alert = spend_alert(labels={"alertname": "AwsDailySpendAboveThreshold", "period": "day", **labels})
    alert["annotations"] |= {"account": labels.get("account", "")}
    assert rendered(notification(alert)).parts[0].split("\n")[1] == line


@pytest.mark.parametrize(
    ("spend", "threshold", "lines"),
    [
        ("100.5", "100", ["Spend: $100.50 in a day", "Threshold: $100.00, spend is 100.5% of it"]),
        ("-3", "100", ["Spend: -$3.00 in a day", "Threshold: $100.00, spend is -3% of it"]),
        ("5", "0", ["Spend: $5.00 in a day", "Threshold: $0.00"]),
        ("", "100", ["Threshold: $100.00"]),
        ("1e14", "1e-20", ["Spend: $100,000,000,000,000.00 in a day", "Threshold: $0.00, spend is more than 1,000,000% of it"]),
    ],
)  # fmt: skip
def test_amounts(spend: str, threshold: str, lines: list[str]) -> None:
    alert = spend_alert()
    alert["annotations"] |= {"spend": spend, "threshold": threshold}
    text = rendered(notification(alert)).parts[0]
    assert [line for line in text.splitlines() if line.startswith(("Spend", "Threshold"))] == lines


@pytest.mark.parametrize(
    ("number", "spend", "threshold", "lines"),
    [
        ("zero with an exponent of a million", "0e1000000", "-0e-1000000", ["Spend: $0.00 in a day", "Threshold: $0.00"]),
        ("an exponent of a million", "1e1000000", "100", ["Spend: 1e1000000", "Threshold: $100.00"]),
        ("an exponent of minus a million", "5", "1e-999999", ["Spend: $5.00 in a day", "Threshold: 1e-999999"]),
        ("an exponent of 20 digits", "-1e1000000", "1e99999999999999999999", ["Spend: -1e1000000", "Threshold: 1e99999999999999999999"]),
        ("NaN", "1e999999", "NaN", ["Spend: 1e999999", "Threshold: NaN"]),
        ("a signalling NaN or infinity", "sNaN12", "-inf", ["Spend: sNaN12", "Threshold: -inf"]),
        ("a quadrillion", "1e999", "1e15", ["Spend: 1e999", "Threshold: 1e15"]),
        ("5,000 digits", "a <b>lot</b>", "9" * 5000, ["Spend: a ‹b›lot‹/b›", f"Threshold: {'9' * 99}…"]),
    ],
    ids=lambda value: value[:36] if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.fault("{number} as an amount of an alert", "the message shows it as it came, others as dollars")
def test_what_is_no_amount_is_shown_as_it_came(
    number: str, spend: str, threshold: str, lines: list[str]
) -> None:
    test_amounts(spend, threshold, lines)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"days": "2026-01-05", "cost_type": "net unblended"}, " (2026-01-05, net unblended)"),
        ({"days": "2026-01-05", "cost_type": ""}, " (2026-01-05)"),
        ({"cost_type": "amortized"}, ""),
    ],
)
def test_spend_names_its_day_and_cost_type(more: dict[str, str], words: str) -> None:
    alert = spend_alert()
    alert["annotations"] |= {"spend": "5", **more}
    assert f"Spend: $5.00 in a day{words}" in rendered(notification(alert)).parts[0].splitlines()


@pytest.mark.parametrize(
    ("period", "words"),
    [("day", " in a day"), ("month", " this month"), ("last_month", " last month"), ("", "")],
)
def test_spend_is_of_a_period(period: str, words: str) -> None:
    alert = spend_alert()
    alert["annotations"] |= {"spend": "5", "period": period}
    alert["labels"].pop("period", None)
    assert f"Spend: $5.00{words}" in rendered(notification(alert)).parts[0].splitlines()


@pytest.mark.parametrize(("left_out", "words"), [(1, "1 more alert"), (7, "7 more alerts")])
def test_truncated_alerts_are_counted(left_out: int, words: str) -> None:
    text = rendered(notification(truncatedAlerts=left_out)).parts[0]
    assert f"And {words} that this message does not list: see Alertmanager." in text


def test_more_alerts_than_the_parts_hold_are_counted() -> None:
    alerts = [spend_alert(f"account {number}", f"{number:012}") for number in range(1000)]
    message = rendered(notification(*alerts))
    text = "\n".join(message.parts)
    counted = re.search(r"And (\d+) more alerts", text)
    assert counted
    assert len(message.parts) <= 10
    assert text.count("Account: account ") + int(counted[1]) == 1000
    assert "1000 firing" in message.parts[0]


def work(alerts: int) -> int:
    """Calls of functions, also of those in C, that one rendering makes: time without a clock."""
    payload = notification(
        *(spend_alert(f"account {number}", f"{number:012}", fingerprint="") for number in range(alerts))
    )
    read, templates = Notification.model_validate_json(json.dumps(payload)), Templates()
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        render(read, Links(), 4096, 10, templates)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.fault("100 times as many alerts in a group", "no more than 100 times the work")
def test_many_alerts_take_no_more_work_than_in_proportion() -> None:
    """What is not listed is not rendered."""
    assert work(3000) < 100 * work(30)


@pytest.mark.parametrize("letters", ["x", "_", "&", "a_", "[", "a.", "9", "-", " ", "a:"])
@pytest.mark.fault(
    "labels of thousands of characters", "the time that they take is in proportion to their length"
)
def test_long_labels_take_time_in_proportion(letters: str) -> None:
    """A pattern that looks ahead from each character would make a minute of a large group."""

    def seconds(size: int) -> float:
        """Of this processor, for the same number of characters in texts of this size; the best of five."""
        text = (letters * size)[:size]
        best = math.inf
        for _ in range(5):
            began = time.process_time()
            for _ in range(40_000 // size):
                neutralise(text)
            best = min(best, time.process_time() - began)
        return best

    assert seconds(4000) < 4 * seconds(200)


@pytest.mark.parametrize("total", [63, 64, 65, 128, 129, 400])
def test_as_many_alerts_are_listed_as_fit(total: int) -> None:
    payload = notification(*(spend_alert(f"account {number}", f"{number:012}") for number in range(total)))
    message = rendered(payload)
    text = "\n".join(message.parts)
    listed = text.count("Account: account ")
    counted = re.search(r"And (\d+) more alert", text)
    assert listed + (int(counted[1]) if counted else 0) == total
    assert len(message.parts) <= 10
    if listed < total:
        read = Notification.model_validate_json(json.dumps(payload))
        one_more = Templates().render("alert", values(read, Links(), listed + 1))
        assert len(split(one_more, 4096)) > 10


@pytest.mark.parametrize(
    ("starts", "ends", "line"),
    [
        ("0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "Since: 0000-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "Since: 0001-01-01T00:00:00+14:00, until 0001-01-01 00:00 UTC"),
        ("2026-02-30T00:00:00Z", "9999-12-31T23:59:59-12:00", "Since: 2026-02-30T00:00:00Z, until 9999-12-31T23:59:59-12:00"),
        ("2026-01-05T14:02:31+24:00", "2026-01-06T00:00:00Z", "Since: 2026-01-05T14:02:31+24:00, until 2026-01-06 00:00 UTC"),
    ],
)  # fmt: skip
@pytest.mark.fault("a moment that Go writes and Python cannot hold", "it is shown as it came")
def test_a_moment_that_is_not_understood_is_shown_as_it_came(starts: str, ends: str, line: str) -> None:
    text = rendered(notification(spend_alert(status="resolved", startsAt=starts, endsAt=ends))).parts[0]
    assert line in text.splitlines()


def test_maps_and_texts_that_are_null_are_empty() -> None:
    alert = spend_alert(annotations=None, generatorURL=None, fingerprint=None, endsAt=None)
    nothing = dict.fromkeys(("commonLabels", "commonAnnotations", "groupLabels", "receiver", "externalURL"))
    payload = {**notification(alert | {"annotations": {}}), **nothing, "alerts": [alert]}
    assert rendered(payload).parts[0].startswith("FIRING: AccountDailySpendAboveThreshold\nAccount: prod")


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("prod_main-1 (eu)", "prod_main-1 (eu)"),
        ("<b onload=x>hi</b>", "‹b onload=x›hi‹/b›"),
        ("[click](https://evil.example)", "[click] (https: //evil.example)"),
        ("[click][1] [1]: x", "[click] [1] [1] : x"),
        ("**bold** _it_ __b__ ~~s~~ `code`", "∗∗bold∗∗ ˍitˍ ˍˍbˍˍ ∼∼s∼∼ 'code'"),
        ("@channel www.evil.example javascript:x", "＠channel www evil.example javascript :x"),
        ("&lt;b&gt; &#60; R&D", "＆lt;b＆gt; ＆#60; R&D"),
        ("# URGENT", "＃ URGENT"),
        ("- a", "‐ a"),
        ("---", "‐‐‐"),
        ("=====", "＝＝＝＝＝"),
        ("-5 #1 c++ a-b", "-5 #1 c++ a-b"),
        ("a\r\n# b\x00\u2028c\u202ed\u200be", "a # b cde"),
        ("x" * 1001, "x" * 999 + "…"),
    ],
)
def test_label_values_become_harmless_text(text: str, harmless: str) -> None:
    assert neutralise(text) == harmless


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "https://a.example/x y", "https://a.example/\u202e", "https://a.example/\nx"],
)
def test_only_web_addresses_become_links(url: str) -> None:
    alert = spend_alert()
    alert["annotations"]["dashboard_url"] = url
    assert "Dashboard" not in rendered(notification(alert)).parts[0]


def test_a_link_cannot_open_markup() -> None:
    alert = spend_alert()
    alert["annotations"]["runbook_url"] = 'https://a.example/?x="><b>[y](z)'
    assert (
        "Runbook: https://a.example/?x=%22%3E%3Cb%3E%5By%5D%28z%29" in rendered(notification(alert)).parts[0]
    )


MARKUP = re.compile(r"[<>`*~@|\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]|\]\(|\]\[|\w://", re.ASCII)


@given(st.text(alphabet=st.sampled_from("ab_*[]()<>&;#:/@`~|\n\r\t\x00\u202e\u2028é漢😀 .w"), max_size=60))
@settings(max_examples=500, deadline=None)
def test_no_text_keeps_markup(text: str) -> None:
    assert not MARKUP.search(neutralise(text))


LINES = st.lists(st.text(alphabet=st.sampled_from("abc é漢😀"), max_size=200), max_size=60).map("\n".join)


@example("漢😀é" * 60, 64)  # characters of several bytes lie across the cuts
@example("\n" + "a" * 52 + "\n\n" + "b" * 10, 64)  # an empty line before one that just fits
@given(LINES, st.integers(min_value=64, max_value=400))
@settings(max_examples=300, deadline=None)
def test_parts_fit_are_numbered_and_lose_nothing(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert all(len(part.encode("utf-8")) <= limit for part in parts)
    if len(parts) == 1 and len(text.encode()) <= limit:
        assert parts == [text]
        return
    heads, bodies = zip(*(part.split("\n", 1) for part in parts), strict=True)
    assert heads == tuple(f"Part {number} of {len(parts)}" for number in range(1, len(parts) + 1))
    assert "".join(bodies).replace("\n", "") == text.replace("\n", "")
    whole = [line for body in bodies for line in body.split("\n")]
    room = limit - len(f"Part {len(parts)} of {len(parts)}\n")
    short = [line for line in text.split("\n") if line and len(line.encode()) <= room]
    if all(len(line.encode()) <= room for line in text.split("\n")):
        assert [line for line in whole if line] == short


def test_an_alert_is_not_torn_when_it_fits_into_the_next_part() -> None:
    block = "\n".join(["x" * 30] * 3)
    assert split("\n\n".join([block] * 4), 200) == [f"Part {n} of 4\n{block}" for n in range(1, 5)] or split(
        "\n\n".join([block] * 4), 200
    ) == [f"Part 1 of 2\n{block}\n\n{block}", f"Part 2 of 2\n{block}\n\n{block}"]


@given(
    st.text(max_size=300),
    st.text(max_size=300),
    st.dictionaries(st.text(max_size=20), st.text(max_size=200), max_size=5),
)
@settings(max_examples=150, deadline=None)
def test_any_label_text_renders(account: str, spend: str, annotations: dict[str, str]) -> None:
    alert = spend_alert(account)
    alert["annotations"] = {"spend": spend, "threshold": spend, "dashboard_url": account, **annotations}
    for part in rendered(notification(alert), limit=256).parts:
        assert len(part.encode("utf-8")) <= 256


def test_the_highest_spend_comes_first_and_only_what_differs_is_repeated() -> None:
    small, large = spend_alert("small", "222222222222"), spend_alert("large", "333333333333")
    small["annotations"] |= {"spend": "1100", "runbook_url": "docs/runbook.md#small"}
    large["annotations"] |= {"spend": "12000", "runbook_url": "docs/runbook.md#large"}
    text = rendered(notification(small, large), Links(dashboard_url="https://grafana.example/d/aws")).parts[0]
    assert [line for line in text.split("\n") if line.startswith(("Account", "Dashboard", "Runbook"))] == [
        "Account: large (333333333333)",
        "Runbook: docs/runbook.md#large",
        "Account: small (222222222222)",
        "Runbook: docs/runbook.md#small",
        "Dashboard: https://grafana.example/d/aws",
    ]
