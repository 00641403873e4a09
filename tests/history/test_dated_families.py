"""Families beside cost are written at their days by the same rules: usage totals, and the accounts' units."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from history_harness import DAY, Server, Writer, account_id, fill, midnight, running, today
from waiting import wait_for

from exporter.accounts.placing import OU_INFO, ancestors, place_days
from exporter.anomalies.cost import assessed_day
from exporter.anomalies.history import ASSESSED_FAMILIES
from exporter.app.dated_history import DAILY_VALUES
from exporter.cli.main import main
from exporter.core.moments import month_start
from exporter.cost.dated_sums import (
    DAILY_BY_ACCOUNT,
    DAILY_BY_SERVICE,
    DAILY_NON_USAGE_KNOWN,
    MONTHLY,
    MONTHLY_BY_ACCOUNT,
    MONTHLY_BY_SERVICE,
)
from exporter.cube.untagged import TAGGABLE
from exporter.expectation.baseline import FEWEST_DAYS
from exporter.history.endpoint import RemoteWriteEndpoint
from exporter.history.request import encode_labels
from exporter.history.sample_timestamps import Stamps
from exporter.history.settings import HistorySettings
from exporter.history.writer import HistoryWriter
from exporter.ledger.daily_values import DailyValue, totals, upsert
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

USED = "aws_lambda_invocations_daily"
SIZE = "aws_s3_bucket_size_bytes_daily"
YESTERDAY = today() - DAY
ACCOUNT = account_id(0)


def now() -> datetime:
    return datetime.now(UTC)


def used(value: float, day: date | None = None, family: str = USED, region: str = "us-east-1") -> DailyValue:
    return DailyValue(day or YESTERDAY, family, ACCOUNT, region, value)


@pytest.fixture
def write(ledger: Ledger, endpoint: Any) -> Callable[[], list[tuple[dict[str, str], int, float]]]:
    """Writes what is new into the recording endpoint and returns it."""

    def written() -> list[tuple[dict[str, str], int, float]]:
        writer = Writer(ledger, _settings(endpoint.write_url))
        writer.writer = HistoryWriter(
            _settings(endpoint.write_url),
            "unblended",
            Stamps(ledger, DAILY_VALUES),
            writer.endpoint,
            now,
            writer.metrics,
        )
        before = len(endpoint.taken)
        writer.write()
        writer.close()
        return [(dict(labels), stamp, value) for labels, stamp, value in endpoint.taken[before:]]

    return written


def _settings(url: str, **more: Any) -> HistorySettings:
    return HistorySettings.model_validate({"write_url": url, "timeout": "60s", **more})


def test_totals_are_written_at_noon_of_their_day_under_the_name_of_the_day(
    ledger: Ledger, write: Any
) -> None:
    ledger.accounts.name({ACCOUNT: "old"}, YESTERDAY - 9 * DAY)
    ledger.accounts.name({ACCOUNT: "new"}, YESTERDAY)
    assert upsert(ledger, [used(1.5), used(0, YESTERDAY - DAY), used(7e15, family=SIZE)], now()) == 3
    labels = {"account_id": ACCOUNT, "region": "us-east-1"}
    found = {}
    for sent, stamp, value in write():
        at = datetime.fromtimestamp(stamp / 1000, UTC)
        assert at.hour == 12
        found[sent["__name__"], at.date()] = (sent, value)
    assert found == {
        (USED, YESTERDAY): ({"__name__": USED, "account": "new", **labels}, 1.5),
        # AWS said 0.
        (USED, YESTERDAY - DAY): ({"__name__": USED, "account": "old", **labels}, 0.0),
        (SIZE, YESTERDAY): ({"__name__": SIZE, "account": "new", **labels}, 7e15),
    }
    assert write() == []


def test_late_data_is_written_again_under_a_later_stamp_and_the_same_is_not(
    ledger: Ledger, write: Any
) -> None:
    upsert(ledger, [used(10), used(5, family=SIZE)], now())
    first = write()
    assert upsert(ledger, [used(10), used(5, family=SIZE)], now()) == 0
    assert write() == []
    assert upsert(ledger, [used(10.25)], now()) == 1
    ((labels, stamp, value),) = write()
    assert (labels["__name__"], value) == (USED, 10.25)
    assert stamp > max(at for _, at, _ in first)


def test_every_day_of_an_account_has_each_unit_above_it(ledger: Ledger) -> None:
    moved = today() - 3 * DAY
    ledger.accounts.place({ACCOUNT: "/Workloads/Prod/EU", account_id(1): "/"}, today() - 10 * DAY)
    ledger.accounts.place({ACCOUNT: "/Sandbox"}, moved)
    accounts = [ACCOUNT, account_id(1), account_id(2)]
    assert place_days(ledger, accounts, 20, now()) == 17 * 3 + 3 + 20
    assert place_days(ledger, accounts, 20, now()) == 0
    found: dict[tuple[date, str], set[str]] = {}
    for day, family, account, ou, value in totals(ledger, today() - 30 * DAY, today(), [OU_INFO.name]):
        assert (family, value) == (OU_INFO.name, 1.0)
        found.setdefault((day, account), set()).add(ou)
    workloads = {"/Workloads", "/Workloads/Prod", "/Workloads/Prod/EU"}
    assert found == {
        (today() - back * DAY, account): {"/"}
        if account == account_id(1)
        else {"/Sandbox"}
        if back <= 3
        else workloads
        for back in range(1, 21)
        for account in accounts[:2]
    }
    # The next day, and an account that joined.
    ledger.accounts.place({account_id(2): "/Sandbox"}, today())
    assert place_days(ledger, accounts, 20, now() + DAY) == 2 + 20


@pytest.mark.parametrize(
    ("ou", "expected"), [("/", ("/",)), ("/A", ("/A",)), ("/A/B/C", ("/A", "/A/B", "/A/B/C"))]
)
def test_ancestors(ou: str, expected: tuple[str, ...]) -> None:
    assert ancestors(ou) == expected


# On a real Prometheus


def of_day(server: Server, family: str, day: date | None = None) -> dict[tuple[str, ...], float]:
    return server.query(
        f'sum by (region, ou) (last_over_time({family}{{job=""}}[1d]))', midnight((day or YESTERDAY) + DAY)
    )


@pytest.mark.stack
def test_what_is_beside_cost_is_seeded_and_fixed_like_cost(make_server: Any, ledger: Ledger) -> None:
    server = make_server()
    costs = fill(ledger, 20, accounts=2, services=1)
    ledger.accounts.place({ACCOUNT: "/Workloads/Prod", account_id(1): "/Workloads"}, today() - 90 * DAY)
    place_days(ledger, [ACCOUNT, account_id(1)], 20, now())
    upsert(ledger, [used(100.0 + back, today() - back * DAY) for back in range(1, 21)], now())
    upsert(ledger, [used(3e15, region="eu-west-1", family=SIZE)], now())

    def is_right() -> bool:
        return (
            server.days(count=30) == costs
            and of_day(server, USED) == {("us-east-1",): 101.0}
            and of_day(server, SIZE) == {("eu-west-1",): 3e15}
            and of_day(server, OU_INFO.name) == {("/Workloads",): 2.0, ("/Workloads/Prod",): 1.0}
            and server.days(f"sum(last_over_time({USED}[1d]))", 30)
            == {today() - back * DAY: 100.0 + back for back in range(1, 21)}
        )

    with running(server, ledger, [DAILY_VALUES]) as run:
        wait_for("all is written", is_right)

        # A scraped series of the same name is nobody's but the scraper's.
        scraped = {"account_id": ACCOUNT, "account": "account-0", "ou": "/Live", "job": "aws-spend-exporter"}
        writer = RemoteWriteEndpoint(server.settings())
        at = round((midnight(YESTERDAY) + timedelta(hours=20)).timestamp() * 1000)
        writer.write([(encode_labels(OU_INFO.name, scraped), at, 1.0)])
        # Values that somebody changed behind our back.
        labels = {"account_id": ACCOUNT, "account": "account-0", "region": "us-east-1"}
        writer.write([(encode_labels(USED, labels), at, 12345.0)])
        stranger = {**labels, "region": "mars-north-1"}
        writer.write([(encode_labels(SIZE, stranger), at, 5.0)])
        writer.close()
        assert of_day(server, USED) == {("us-east-1",): 12345.0}

        def is_fixed() -> bool:
            return of_day(server, USED) == {("us-east-1",): 101.0} and of_day(server, SIZE) == {
                ("eu-west-1",): 3e15,
                ("mars-north-1",): 0.0,
            }

        run.until("it is fixed", is_fixed)
        live = server.query(f'last_over_time({OU_INFO.name}{{job!=""}}[1d])', midnight(today()))
        assert list(live.values()) == [1.0]

        server.stop()
        server.wipe()
        server.start()
        run.until("it is there again", is_right)

    # Past cost by the unit of the day, as docs/usage.md asks for it.
    by_unit = server.query(
        f"sum by (ou) (max by (ou, account_id) (last_over_time({OU_INFO.name}[1d]))"
        " * on (account_id) group_left () sum by (account_id) (last_over_time(aws_cost_daily_usd[1d])))",
        midnight(today()),
    )
    own = server.query(
        f'sum(last_over_time(aws_cost_daily_usd{{account_id="{ACCOUNT}"}}[1d]))', midnight(today())
    )
    assert by_unit == {("/Workloads",): costs[YESTERDAY], ("/Workloads/Prod",): own[()]}


def test_a_backfill_into_a_file_has_every_family_in_one_piece(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "data/ledger.sqlite")
    fill(ledger, 3, accounts=1, services=1)
    upsert(ledger, [used(5.0, today() - back * DAY) for back in (1, 2, 3)], now())
    upsert(ledger, [used(2.5, today() - back * DAY, SIZE) for back in (1, 2)], now())
    ledger.close()
    config = tmp_path / "config.yaml"
    config.write_text(f"data_dir: {tmp_path / 'data'}\n")
    file = tmp_path / "history.om"
    result = CliRunner().invoke(main, ["backfill", "-c", str(config), "--openmetrics", str(file)])
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, f"17 samples are in {file}")
    lines = file.read_text().splitlines()
    names = [_family(line) for line in lines if not line.startswith("#")]
    sums = [DAILY_BY_SERVICE.name, DAILY_BY_ACCOUNT.name, DAILY_NON_USAGE_KNOWN.name]
    expected = {"aws_cost_daily_usd": 3, **dict.fromkeys(sums, 3), USED: 3, SIZE: 2}
    assert names == [name for name, count in expected.items() for _ in range(count)]
    assert [line.split(" ")[2] for line in lines if line.startswith("# TYPE")] == [*expected]
    assert lines[-1] == "# EOF"
    if promtool := shutil.which("promtool"):
        made = subprocess.run(
            [promtool, "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=512h", file, tmp_path / "b"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout + made.stderr


def test_a_backfill_assesses_the_past_of_a_ledger_that_no_exporter_holds(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "data/ledger.sqlite")
    oldest = month_start(today(), 1)
    count = (today() - oldest).days
    fill(ledger, count, accounts=1, services=1)
    days = {today() - back * DAY: False for back in range(1, count + 1)}
    ledger.reads.commit_non_usage(CostRead(now(), days, {}))
    newest = assessed_day(ledger, now())
    ledger.close()
    assert newest is not None
    config = tmp_path / "config.yaml"
    config.write_text(f"data_dir: {tmp_path / 'data'}\ncollectors: {{cost: {{history_months: 1}}}}\n")
    file = tmp_path / "history.om"
    result = CliRunner().invoke(main, ["backfill", "-c", str(config), "--openmetrics", str(file)])
    assert result.exit_code == 0, result.output
    lines = [_family(line) for line in file.read_text().splitlines() if not line.startswith("#")]
    # The first fortnight has nothing to be compared with.
    assessed = (newest - oldest).days + 1 - FEWEST_DAYS
    by_day = (
        "aws_cost_daily_usd",
        DAILY_BY_SERVICE.name,
        DAILY_BY_ACCOUNT.name,
        DAILY_NON_USAGE_KNOWN.name,
        TAGGABLE.name,
    )
    by_month = (MONTHLY.name, MONTHLY_BY_SERVICE.name, MONTHLY_BY_ACCOUNT.name)
    assert Counter(lines) == dict.fromkeys(by_day, count) | dict.fromkeys(by_month, 1) | {
        family.name: assessed for family in ASSESSED_FAMILIES
    }


def _family(line: str) -> str:
    return line.split(" ")[0].split("{")[0]
