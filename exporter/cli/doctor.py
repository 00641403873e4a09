"""`doctor`: walks the whole chain, from credentials to channels, and shows how to fix what fails.

Nothing of it is paid, unless a Cost Explorer request is asked for, and no message is sent,
unless a test message is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import requests
from prometheus_client import CollectorRegistry

from exporter.aws.advice import BY_KIND, advice
from exporter.aws.clients import Aws
from exporter.aws.cost_explorer import daily_costs
from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import COST_EXPLORER_REQUEST_USD, Meter
from exporter.aws.partitions import of_arn
from exporter.aws.settings import make_aws
from exporter.cli.check import check_aws
from exporter.cli.clients import exporter_client, relay_client
from exporter.cli.compare_sources import compare_sources
from exporter.cli.finding import CheckFinding
from exporter.collection.plan import plan_at_rest
from exporter.collectors.cost import COLLECTOR as COST
from exporter.config.model import Config
from exporter.core.fields import format_duration
from exporter.core.moments import utc_now
from exporter.ledger.database import LedgerLockedError
from exporter.ledger.file import Ledger
from exporter.relay.channels import all_kinds
from exporter.relay.settings import RelayConfigError, RelaySecrets
from exporter.web.client import NoAnswerError, RefusedError
from exporter.web.outgoing import OutgoingSession

_TIMEOUT = (2.0, 10.0)
_READ_SECONDS = 10.0
_DENIED = "Denied by a service control policy: "
_PROMETHEUS_DURATION = re.compile(r"(\d+)(ms|[smhdwy])")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}


def examine(
    config: Config,
    *,
    prometheus_url: str | None = None,
    ask_cost_explorer: bool = False,
    compare_month: date | None = None,
    send_test_message: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[CheckFinding]:
    """Every link of the chain, in the order in which a datum passes it."""
    yield CheckFinding("configuration", "", "", "", "valid")
    yield from check_aws(config, progress)
    yield from _cost_explorer(config, ask_cost_explorer)
    if compare_month is not None:
        yield from compare_sources(config, compare_month)
    yield from _plan(config)
    yield from _exporter(config)
    base = prometheus_url or config.history.query_base
    if base is None:
        yield CheckFinding(
            "Prometheus",
            "",
            "",
            "",
            "not known here",
            advice="set history.write_url, or give --prometheus-url",
        )
    else:
        yield from _prometheus(config, base.rstrip("/"))
    yield from _relay(config)
    yield from _channels(config, send_test_message)


def _ok(subject: str, result: str, advice: str = "") -> CheckFinding:
    return CheckFinding(subject, "", "", "", result, advice=advice)


def _bad(subject: str, result: str, advice: str, error: str = "failed") -> CheckFinding:
    return CheckFinding(subject, "", "", "", result, error, advice)


# AWS


def _cost_explorer(config: Config, paid: bool) -> Iterator[CheckFinding]:
    subject = "Cost Explorer"
    price = f"${COST_EXPLORER_REQUEST_USD}"
    if not config.settings(COST).enabled:
        yield _ok(subject, "the cost collector is off")
        return
    if COST.rests(config.sections()) and not paid:
        yield _ok(
            subject, "not asked: cost comes from the data export", "doctor --compare-month compares both"
        )
        return
    if not paid:
        read_at = None
        if config.ledger_path.exists():
            ledger = Ledger(config.ledger_path, read_only=True)
            read_at = ledger.reads.scanned_at("refresh")
            ledger.close()
        if read_at is not None:
            yield _ok(subject, f"was last read at {read_at:%Y-%m-%d %H:%M} UTC")
        else:
            yield _ok(subject, f"not tried: a request costs {price}", "doctor --ask-cost-explorer tries it")
        return
    try:
        # The charge counts against the same ceilings, and survives, like any other.
        ledger = Ledger(config.ledger_path)
    except LedgerLockedError:
        yield _ok(
            subject,
            "not tried: an exporter is running and asks by itself",
            "see the exporter's findings below",
        )
        return
    try:
        meter = Meter(ledger.charges, config.ceilings, utc_now, CollectorRegistry())
        aws: Aws = make_aws(config.aws, meter)
        yesterday = utc_now().date() - timedelta(days=1)
        partition = of_arn(str(aws.call(None, "sts", "GetCallerIdentity", aws.region)["Arn"]))
        answer = daily_costs(
            aws, None, yesterday, yesterday + timedelta(days=1), ("SERVICE",), partition=partition
        )
        aws.close()
    except AwsError as error:
        yield _bad(subject, str(error), advice(error), error.kind)
    else:
        yield _ok(subject, f"answered with {len(answer.amounts)} services for {yesterday} ({price})")
    finally:
        ledger.close()


def _plan(config: Config) -> Iterator[CheckFinding]:
    plan = plan_at_rest(config, utc_now())
    if config.aws.simulated:
        yield _ok("plan", "AWS is simulated: its requests cost nothing")
    elif plan.over:
        yield _bad(
            "plan", "; ".join(plan.over), "raise the ceiling, or ask for less: `plan` shows what", "over"
        )
    else:
        yield _ok("plan", f"${plan.usd:.2f} a month for AWS requests, within its ceilings", plan.waits or "")


# Servers


def _exporter(config: Config) -> Iterator[CheckFinding]:
    subject = "exporter"
    try:
        client = exporter_client(config)
        ready = client.get("-/ready", seconds=_READ_SECONDS)
        known = client.get("api/v1/services", seconds=_READ_SECONDS)
    except RefusedError as error:
        yield _bad(subject, str(error), "docs/deploy.md shows how commands sign in", "refused")
        return
    except NoAnswerError as error:
        yield _bad(subject, str(error), "start `aws-spend-exporter run`", "down")
        return
    if not known.ok:
        yield _bad(subject, f"{client.shown} is no exporter of this version", "start this version's", "down")
        return
    yield _ok(subject, f"answers at {client.shown}")
    lines = []
    for line in ready.text.strip().splitlines():
        if line.startswith(_DENIED):
            yield _ok(subject, line, "leave these regions out of `regions`, or let the policy allow them")
        else:
            lines.append(line)
    if not ready.ok:
        for line in lines:
            yield _bad(
                subject, line, "docs/runbook.md says more under the alert of that collector", "not ready"
            )
    else:
        for line in lines[1:]:
            yield _bad(subject, line.removeprefix("Failing: "), _advice_on(line), "failing")


def _advice_on(line: str) -> str:
    """What fixes a failure that `/-/ready` lists: its kind ends the line."""
    kind = line.rpartition(": ")[2]
    if kind in set(Kind):
        return f"{BY_KIND[Kind(kind)]}; `check --aws` says more"
    return "`check --aws` says what to fix in AWS"


def _get(url: str, **parameters: str) -> requests.Response | str:
    """The answer, or why there is none."""
    try:
        with OutgoingSession() as session:
            return session.get(url, params=parameters, timeout=_TIMEOUT)
    except requests.RequestException as error:
        return f"{url} does not answer ({type(error).__name__})"


def _data(base: str, path: str, **parameters: str) -> Any:
    """The `data` of an answer of Prometheus' API; None where there is none."""
    answer = _get(f"{base}/api/v1/{path}", **parameters)
    if isinstance(answer, str) or not answer.ok:
        return None
    try:
        return answer.json().get("data")
    except ValueError:
        return None


def _prometheus(config: Config, base: str) -> Iterator[CheckFinding]:
    subject = "Prometheus"
    ready = _get(f"{base}/-/ready")
    if isinstance(ready, str) or not ready.ok:
        text = ready if isinstance(ready, str) else f"{base} answered {ready.status_code}"
        yield _bad(subject, text, "start it, or fix history.write_url", "down")
        return
    yield _ok(subject, f"is ready at {base}")
    yield from _flags(config, base)
    up = _data(base, "query", query="up{job=~'aws-spend-exporter.*'}")
    series = (up or {}).get("result", [])
    if not series:
        yield _bad(
            subject,
            "scrapes no job aws-spend-exporter",
            "take the scrape_configs of prometheus/prometheus.yml",
        )
    for entry in series:
        name = f"{entry['metric'].get('job')} at {entry['metric'].get('instance')}"
        if entry["value"][1] == "1":
            yield _ok(subject, f"scrapes {name}")
        else:
            yield _bad(subject, f"cannot scrape {name}", "start it, or fix the target's address", "down")
    groups = (_data(base, "rules") or {}).get("groups", [])
    ours = [rule for group in groups for rule in group["rules"] if "aws_" in rule["query"]]
    if not ours:
        yield _bad(subject, "has none of our rules", "add prometheus/rules/*.yml to rule_files")
    else:
        broken = [rule for rule in ours if rule.get("health") == "err"]
        for rule in broken:
            yield _bad(subject, f"{rule['name']}: {rule.get('lastError')}", "take the rules of this version")
        if not broken:
            yield _ok(subject, f"evaluates {len(ours)} of our rules")
    yield from _alertmanagers(base)


def _flags(config: Config, base: str) -> Iterator[CheckFinding]:
    subject = "Prometheus"
    flags = _data(base, "status/flags")
    if flags is None:
        yield _ok(subject, "does not tell its flags: another backend, see docs/history.md")
        return
    if config.history.write_url is None:
        return
    if flags.get("web.enable-remote-write-receiver") == "true":
        yield _ok(subject, "takes remote writes")
    else:
        yield _bad(subject, "takes no remote writes", "start it with --web.enable-remote-write-receiver")
    wanted = config.history.window
    retention = _prometheus_duration(flags.get("storage.tsdb.retention.time", ""))
    if retention is not None and retention < wanted:
        yield _bad(
            subject,
            f"keeps {format_duration(retention)}, the history has {format_duration(wanted)}",
            f"start it with --storage.tsdb.retention.time={wanted.days}d",
        )
    text = (_data(base, "status/config") or {}).get("yaml", "")
    found = re.search(r"out_of_order_time_window: *(\S+)", text)
    window = _prometheus_duration(found[1]) if found else timedelta(0)
    if window is None or window < wanted:
        yield _bad(
            subject,
            f"takes samples as old as {format_duration(window or timedelta(0))}, the history has {format_duration(wanted)}",
            f"set storage.tsdb.out_of_order_time_window: {wanted.days}d in prometheus.yml",
        )


def _prometheus_duration(text: str) -> timedelta | None:
    parts = _PROMETHEUS_DURATION.findall(text)
    if not parts or text == "0s":
        return None
    return sum((int(number) * _UNITS[unit] for number, unit in parts), timedelta(0))


def _alertmanagers(base: str) -> Iterator[CheckFinding]:
    subject = "Alertmanager"
    active = (_data(base, "alertmanagers") or {}).get("activeAlertmanagers", [])
    if not active:
        yield _bad(
            subject, "Prometheus sends its alerts to none", "take `alerting` of prometheus/prometheus.yml"
        )
    for entry in active:
        url = str(entry["url"]).removesuffix("/api/v2/alerts").removesuffix("/api/v1/alerts")
        ready = _get(f"{url}/-/ready")
        if isinstance(ready, str) or not ready.ok:
            yield _bad(
                subject, f"{url} is not ready", "start it, or fix its address in prometheus.yml", "down"
            )
            continue
        status = _get(f"{url}/api/v2/status")
        text = "" if isinstance(status, str) else status.json().get("config", {}).get("original", "")
        if "/alerts" in text:
            yield _ok(subject, f"is ready at {url} and posts to a relay")
        else:
            yield _bad(
                subject, f"{url} has no receiver that posts to a relay", "take alertmanager/alertmanager.yml"
            )


def _relay(config: Config) -> Iterator[CheckFinding]:
    subject = "relay"
    if not config.relay.channels:
        yield _ok(subject, "no channel is configured", "relay.channels, if messages are wanted")
        return
    try:
        client = relay_client(config)
        ready = client.get("-/ready", seconds=_READ_SECONDS)
    except RefusedError as error:
        yield _ok(subject, f"runs, and shows no more than that: {error}")
        return
    except NoAnswerError as error:
        yield _bad(subject, str(error), "start `aws-spend-exporter relay`", "down")
        return
    if ready.ok:
        yield _ok(subject, f"is ready at {client.shown}")
    else:
        yield _bad(subject, f"{client.shown}: {ready.text.strip()}", "the relay's log says more", "not ready")


def _channels(config: Config, send: bool) -> Iterator[CheckFinding]:
    relay = config.relay
    if not relay.channels:
        return
    try:
        channels = RelaySecrets(relay).channels
    except RelayConfigError as error:
        kinds = {channel.kind for channel in relay.channels.values()}
        advice = "; ".join(all_kinds()[kind].where_to_find_the_url for kind in sorted(kinds))
        yield _bad("channels", str(error), advice)
        return
    timeout = (relay.connect_timeout.total_seconds(), relay.read_timeout.total_seconds())
    for name, channel in channels.items():
        subject = f"{channel.kind.title} {name}"
        if not send:
            yield _ok(subject, "has a webhook URL", "doctor --send-test-message posts to it")
            continue
        result = channel.prove(relay.username, timeout)
        if result.delivered:
            yield _ok(subject, "took a test message")
        else:
            advice = "check that the channel's webhook URL is current"
            yield _bad(subject, result.reason, advice, result.status)
