"""An exporter whose cost comes from a data export: everything is served, nothing is paid, and a kill loses nothing."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from export_commands import START, at_start, command, configuration, export_of
from running_exporter import (
    MakeAws,
    MakeExporter,
    ShiftedClock,
    check_with_promtool,
    collectors,
    in_process,
)
from waiting import wait_for

from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack

MARCH, APRIL, MAY = (date(2026, month, 1) for month in (3, 4, 5))
DIFFERENCE = "aws_cost_source_difference_usd"


def truth(aws: SimulatedAws, *by: str) -> dict[tuple[str, ...], float]:
    found = aws.truth.totals(
        MAY, START.date() + timedelta(days=1), aws.exports.refreshed("cost"), by, "UnblendedCost"
    )
    return {key: float(usd) for key, usd in found.items() if usd}


def test_cost_and_breakdowns_are_served_without_a_paid_request(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=START, accounts=4, services=6, days=60, varied_charges=True)
    export_of(aws)
    with in_process(tmp_path, aws, configuration(aws), ShiftedClock(START)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        wait_for("cost is served", lambda: "aws_cost_month_to_date_usd" in exporter.samples())
        wait_for(
            "it is reported that cost was read",
            lambda: exporter.value(
                "aws_spend_exporter_collector_last_success_timestamp_seconds", collector="cost"
            ),
        )
        samples = exporter.samples()
        assert {
            (labels["account_id"], labels["service"]): value
            for labels, value in samples["aws_cost_month_to_date_usd"]
            if value
        } == pytest.approx(truth(aws, "account", "service"))
        for family, label, by in (
            ("region", "region", "region"),
            ("charge_type", "charge_type", "record_type"),
            ("usage_type", "usage_type", "usage_type"),
            ("tag", "tag_value", "tag:team"),
        ):
            assert {
                (labels["account_id"], labels.get(label, "")): value
                for labels, value in samples[f"aws_cost_month_to_date_by_{family}_usd"]
                if value
            } == pytest.approx(truth(aws, "account", by)), family
        assert exporter.value("aws_spend_exporter_export_month_success", month="2026-05") == 1
        assert (exporter.value("aws_spend_exporter_export_month_lines", month="2026-05") or 0) > 500
        assert exporter.value("aws_spend_exporter_export_month_unknown_lines", month="2026-05") == 0
        assert (exporter.value("aws_spend_exporter_cube_bytes") or 0) > 1000
        delivered = exporter.value(
            "aws_spend_exporter_export_month_delivered_timestamp_seconds", month="2026-05"
        )
        refreshed = aws.exports.refreshed("cost")
        assert refreshed is not None
        assert delivered == refreshed.replace(microsecond=0).timestamp()
        assert exporter.value("aws_spend_exporter_ledger_missing_dates") == 0
        check_with_promtool(exporter.get("/metrics").text)
        answer = exporter.post("/-/refresh?collector=cost&from=2026-05-03&to=2026-05-04")
        assert answer.status_code == 409 or "collectors.cost.source" in answer.text
        assert exporter.failures("cost") == exporter.failures("cost_export") == {}
        assert aws.requests.count("ce") == 0


def test_a_failing_export_is_a_failure_that_is_served_and_cost_stays(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=START, accounts=3, services=4, days=60, varied_charges=True)
    export = export_of(aws)
    clock = ShiftedClock(START)
    with in_process(tmp_path, aws, configuration(aws), clock) as exporter:
        wait_for("cost is served", lambda: "aws_cost_month_to_date_usd" in exporter.samples())
        before = exporter.samples()["aws_cost_month_to_date_usd"]
        export.truncated = 1
        clock.advance(timedelta(minutes=30))
        aws.clock.set(clock())
        aws.exports.deliver(force=True)
        aws.exports.hold()
        exporter.post("/-/refresh?collector=cost_export")
        assert exporter.failures("cost_export") == {"management": {"export"}}
        assert exporter.samples()["aws_cost_month_to_date_usd"] == before


def test_a_reload_changes_the_source_and_another_changes_it_back(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=START, accounts=3, services=4, days=60, varied_charges=True)
    export_of(aws)
    by_export = configuration(aws)
    from_cost_explorer = {
        **by_export,
        "collectors": by_export["collectors"]
        | {"cost": {"history_months": 1}, "cost_breakdowns": {"enabled": False}},
    }
    ledger = tmp_path / "data" / "ledger.sqlite"

    def change_to(config: dict[str, Any]) -> None:
        whole = {"data_dir": str(tmp_path / "data"), "server": {"port": 0}, **config}
        (tmp_path / "config.yaml").write_text(json.dumps(whole))
        assert exporter.reload().status_code == 200

    with in_process(tmp_path, aws, from_cost_explorer, ShiftedClock(START)) as exporter:
        wait_for(
            "the history is read", lambda: exporter.value("aws_spend_exporter_ledger_missing_dates") == 0
        )
        assert months_of(ledger) == {}
        change_to(by_export)
        asked = aws.requests.count("ce")
        wait_for("the month is the export's", lambda: months_of(ledger).keys() == {MAY})
        wait_for(
            "that is served",
            lambda: exporter.value("aws_spend_exporter_export_month_success", month="2026-05") == 1,
        )
        assert exporter.samples()["aws_cost_last_month_usd"], "what Cost Explorer had of April stays"
        wait_for("both sources are compared", lambda: DIFFERENCE in exporter.samples())
        assert exporter.samples()[DIFFERENCE] == [
            ({"month": "2026-05", "service": "other"}, pytest.approx(0, abs=1e-6))
        ]
        compared_dates = "aws_spend_exporter_export_month_compared_dates"
        assert exporter.value(compared_dates, month="2026-05") == 15
        assert aws.requests.count("ce") == asked
        change_to(from_cost_explorer)
        wait_for("the month is Cost Explorer's", lambda: months_of(ledger) == {})
        wait_for("it is read again", lambda: sources_of(ledger) == {None})
        assert aws.requests.count("ce") > asked
        assert "aws_spend_exporter_export_month_success" not in exporter.samples()


def sources_of(path: Path) -> set[str | None]:
    with closing(sqlite3.connect(path)) as db:
        return {source for (source,) in db.execute("SELECT DISTINCT source FROM days")}


def test_check_names_what_the_export_is_and_plan_has_no_paid_request_of_cost(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=START, accounts=3, services=4, days=40, varied_charges=True)
    export_of(aws, months=1)
    done = command(tmp_path, aws, configuration(aws), "check", "--aws", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    results = [each["result"] for each in json.loads(done.stdout) if each["subject"] == "data export"]
    assert results[0] == "cost is CUR 2.0 in s3://cost-exports/exports/cost in us-east-1"
    assert results[1].startswith("healthy, refreshed at ")
    assert results[2] == "has unblended, blended, amortized, net_unblended, net_amortized cost"
    assert results[3].startswith("2 months from ")
    assert "in 1 file with " in results[3]
    plan = command(tmp_path, aws, configuration(aws), "plan", "--json")
    lines = json.loads(plan.stdout)["lines"]
    assert {line["service"] for line in lines if line["collector"].startswith("cost")} == {
        "bcm-data-exports",
        "s3",
        "kms",
    }
    assert aws.requests.count("ce") == 0


@pytest.mark.parametrize(
    ("definition", "config", "text"),
    [
        ({"table": "FOCUS_1_2_AWS"}, {}, "expected net_unblended or net_amortized"),
        ({"query": "SELECT * FROM COST_AND_USAGE_REPORT LIMIT 5"}, {}, "its query filters: LIMIT 5"),
        ({"name": "other"}, {}, "there is no data export named cost, found other"),
        ({"status": "UNHEALTHY", "status_reason": "BILL_OWNER_CHANGED"}, {}, "unhealthy: BILL_OWNER_CHANGED"),
    ],
)
def test_check_names_what_is_wrong_with_an_export(
    make_aws: MakeAws, tmp_path: Path, definition: dict[str, Any], config: dict[str, Any], text: str
) -> None:
    aws = make_aws(now=START, accounts=3, services=4, days=40, varied_charges=True)
    export_of(aws, **definition)
    done = command(tmp_path, aws, configuration(aws) | config, "check", "--aws", "--json")
    assert done.returncode == 1
    failed = [each for each in json.loads(done.stdout) if each["error"]]
    assert [(each["subject"], each["error"]) for each in failed] == [("data export", "export")]
    assert text in failed[0]["result"]
    assert aws.requests.count("ce") == 0


def test_doctor_compares_a_month_of_both_sources_for_one_request(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=START, accounts=3, services=4, days=60, varied_charges=True)
    export_of(aws)
    config = configuration(aws)
    with in_process(tmp_path, aws, config, ShiftedClock(START)) as exporter:
        wait_for("cost is served", lambda: "aws_cost_month_to_date_usd" in exporter.samples())
        findings = json.loads(
            command(tmp_path, aws, config, "doctor", "--compare-month", "2026-05", "--json").stdout
        )
        assert aws.requests.count("ce") == 1
        # What it has found is served by the exporter beside it.
        assert DIFFERENCE not in exporter.samples()
        assert exporter.post("/-/refresh?collector=cost_export").status_code == 200
        wait_for("the comparison is served", lambda: DIFFERENCE in exporter.samples())
        served = exporter.samples()[DIFFERENCE]
        check_with_promtool(exporter.get("/metrics").text)
    results = [each["result"] for each in findings if each["subject"] == "both sources"]
    total = sum(truth(aws, "account").values())
    assert "2026-05-01 to 2026-05-17, unblended: " in results[-1]
    assert f"${total:,.2f} of the export as of " in results[-1]
    assert "($0.01)" in results[-1]
    assert {labels["month"] for labels, _ in served} == {"2026-05"}
    differing = {result.partition(": ")[0] for result in results[:-1]}
    assert {labels["service"] for labels, _ in served} == {*sorted(differing)[:20], "other"}
    with in_process(tmp_path, aws, config, ShiftedClock(START)) as exporter:
        wait_for("it is served after a restart", lambda: exporter.samples().get(DIFFERENCE) == served)
    # Without an exporter beside it, the charge is in the ledger; a month that was not read costs nothing.
    command(tmp_path, aws, config, "doctor", "--compare-month", "2026-05", "--json")
    assert aws.requests.count("ce") == 2
    with closing(sqlite3.connect(tmp_path / "data" / "ledger.sqlite")) as db:
        assert db.execute("SELECT COUNT(*) FROM charges WHERE service = 'ce'").fetchone() == (1,)
    answer = command(tmp_path, aws, config, "doctor", "--compare-month", "2026-04", "--json")
    assert "2026-04 is no month of a data export here" in answer.stdout
    assert aws.requests.count("ce") == 2


# Kills


def months_of(path: Path) -> dict[date, str]:
    """The committed months and their versions, of a ledger that is whole."""
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'cube_months'").fetchone():
            return {}
        return {
            date.fromordinal(month): version
            for month, version in db.execute("SELECT month, version FROM cube_months")
        }


def sums_of(path: Path) -> dict[tuple[str, str, str], Decimal]:
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(
            "SELECT day, account_id, service, total_amortized FROM cost JOIN series ON series.id = cost.series"
            " WHERE total_amortized != 0"
        ).fetchall()
    return {
        (date.fromordinal(day).isoformat(), account, service): Decimal(units).scaleb(-10)
        for day, account, service, units in rows
    }


class Watch:
    """What S3 is asked for of the exports; `act` is called once, before the nth answer of a kind."""

    def __init__(self, aws: SimulatedAws) -> None:
        self.asked: list[tuple[str, str]] = []
        self._whole = aws.exports.before_get
        self._lock = threading.Lock()
        self._due: tuple[Callable[[str, str], bool], int, Callable[[], None]] | None = None
        aws.exports.before_get = self  # type: ignore[method-assign] # the other end of the wire

    def at(self, matches: Callable[[str, str], bool], number: int, act: Callable[[], None]) -> None:
        self._due = matches, number, act

    def __call__(self, bucket: str, key: str, operation: str) -> None:
        self._whole(bucket, key, operation)
        with self._lock:
            self.asked.append((key, operation))
            if self._due is None or not self._due[0](key, operation):
                return
            matches, number, act = self._due
            self._due = (matches, number - 1, act) if number > 1 else None
        if self._due is None:
            act()

    def files(self) -> list[str]:
        """The data files that were read."""
        return [key for key, operation in self.asked if _is_data(key, operation)]


def _is_data(key: str, operation: str) -> bool:
    return "/data/" in key and operation == "GetObject"


def _is_manifest_of(month: date) -> Callable[[str, str], bool]:
    return lambda key, operation: (
        f"/metadata/BILLING_PERIOD={month:%Y-%m}/" in key and operation == "HeadObject"
    )


@pytest.mark.fault(
    "SIGKILL while a month of an export is read", "nothing committed is lost, and no half of a month is"
)
@pytest.mark.parametrize("point", ["between two files", "before the commit", "after the commit"])
def test_a_kill_leaves_the_months_that_were_committed_and_no_half_of_another(
    make_aws: MakeAws, make_exporter: MakeExporter, point: str
) -> None:
    aws = make_aws(now=START, accounts=3, services=4, days=75, varied_charges=True)
    export_of(aws, months=1, lines_per_file=400)
    aws.exports.deliver()
    aws.exports.hold()
    config = {
        "accounts": {"discovery": "payer"},
        "collectors": collectors(cost={"source": "data_export", "history_months": 2})
        | {"cost_export": {"export": "cost"}},
    }
    watch = Watch(aws)
    exporter = make_exporter(aws, config)
    exporter.environment |= at_start()
    ledger = exporter.folder / "data" / "ledger.sqlite"
    killed = threading.Event()

    def kill() -> None:
        if exporter.popen is not None:
            exporter.popen.kill()
            exporter.popen.wait()
        killed.set()

    expected_months = {MAY}
    if point == "between two files":
        watch.at(lambda key, operation: _is_data(key, operation) and "=2026-04/" in key, 2, kill)
    elif point == "before the commit":
        # The manifest is looked at before and after its files are folded.
        watch.at(_is_manifest_of(APRIL), 2, kill)
    else:
        watch.at(_is_manifest_of(MARCH), 1, kill)
        expected_months.add(APRIL)
    exporter.start(wait=False)
    assert killed.wait(120), exporter.log()
    versions = months_of(ledger)
    assert versions.keys() == expected_months
    cube = exporter.folder / "data" / "cube"
    if point == "before the commit":
        assert [path.name for path in cube.glob("*.unfinished")]
    read = len(watch.files())

    exporter.environment |= at_start()
    exporter.start()
    wait_for("both months are read", lambda: months_of(ledger).keys() == {APRIL, MAY})
    wait_for("it is ready", exporter.is_ready)
    exporter.stop()
    assert {month: months_of(ledger)[month] for month in versions} == versions, "it was not read again"
    again = watch.files()[read:]
    assert all("=2026-04/" in key for key in again)
    assert bool(again) == (point != "after the commit")
    end = START.date() + timedelta(days=1)
    found = aws.truth.totals(
        APRIL, end, aws.exports.refreshed("cost"), ("day", "account", "service"), "AmortizedCost"
    )
    assert sums_of(ledger) == {key: usd for key, usd in found.items() if usd}
    assert len(list(cube.iterdir())) == 2
    assert list((exporter.folder / "data" / "spill").iterdir()) == []
