"""`plan` prices a configuration without asking AWS anything."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from exporter.aws.settings import Ceiling, CeilingSettings
from exporter.cli.main import main
from exporter.collection.plan import make_plan, refusal, refused_collectors, scale_for
from exporter.config.model import Config
from exporter.config.read import load_config
from exporter.core.moments import days_between, month_start
from exporter.cost.refresh_plan import PAGE_SIZE_FACT
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead
from exporter.usage.counters import Series, list_series

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["plan", *arguments])
    return result.exit_code, result.output


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_plan_says_what_it_assumed_and_what_it_was_given() -> None:
    code, text = run("--accounts", "100", "--services", "20", "--groups-per-page", "5000", "--json")
    plan = json.loads(text)

    assert code == 0
    assert plan["sources"] == {
        "accounts": "given",
        "services": "given",
        "regions": "assumed",
        "groups_per_page": "given",
    }
    assert plan["scale"]["keys"] == 2000
    assert Decimal(plan["usd_per_month"]) <= Decimal("3.90")


def test_old_months_cost_at_most_ninety_cents_more_and_nothing_where_they_are_left_alone() -> None:
    size = ("--accounts", "100", "--services", "20", "--groups-per-page", "5000", "--json")
    with_them = json.loads(run(*size)[1])
    off = {"compare_months": None, "reread_days": None}
    Path("config.yaml").write_text(yaml.safe_dump({"collectors": {"cost": off}}))
    without = json.loads(run(*size)[1])
    assert Decimal(with_them["usd_per_month"]) - Decimal(without["usd_per_month"]) <= Decimal("0.90")
    assert Decimal(without["usd_per_month"]) <= 3
    purposes = {line["purpose"] for line in without["lines"]}
    assert not [purpose for purpose in purposes if "months" in purpose or "quarter" in purpose]


def test_fewer_groups_a_page_cost_more() -> None:
    prices = [
        Decimal(
            json.loads(run("--accounts", "100", "--groups-per-page", pages, "--json")[1])["usd_per_month"]
        )
        for pages in ("500", "2000", "10000")
    ]
    assert prices == sorted(prices, reverse=True)
    assert prices[0] > 2 * prices[2]


def test_a_plan_over_its_ceiling_exits_1_and_names_the_key(tmp_path: Path) -> None:
    Path("config.yaml").write_text(yaml.safe_dump({"ceilings": {"cost": {"month": 0.5}}}))
    code, text = run("--accounts", "10")
    assert code == 1
    assert "ceilings.cost.month: found $0.5, expected at least $" in text


def test_free_requests_are_shown_too() -> None:
    Path("config.yaml").write_text(yaml.safe_dump({"collectors": {"ec2_instances": {"enabled": True}}}))
    _, text = run("--accounts", "60", "--regions", "3", "--json")
    (line,) = [line for line in json.loads(text)["lines"] if line["collector"] == "ec2_instances"]
    assert (line["requests_per_month"], line["usd_per_month"]) == (60 * 3 * 720, "0.00")


def test_the_free_requests_of_the_inventory_are_shown_by_operation() -> None:
    Path("config.yaml").write_text(
        yaml.safe_dump({"collectors": {"inventory": {"enabled": True}, "ec2_instances": {"enabled": True}}})
    )
    _, text = run("--accounts", "60", "--regions", "3", "--json")
    plan = json.loads(text)
    lines = {
        f"{line['service']}:{line['operation']}": line["requests_per_month"]
        for line in plan["lines"]
        if line["collector"] == "inventory"
    }
    # Hourly, in 60 accounts and 3 regions; buckets are listed once an account; twenty queues are assumed.
    assert lines["ec2:DescribeVolumes"] == lines["rds:DescribeDBInstances"] == 60 * 3 * 720
    assert lines["s3:ListBuckets"] == 60 * 720
    assert lines["sqs:GetQueueAttributes"] == 20 * 60 * 3 * 720
    # It counts instances, too: nothing asks for them a second time.
    assert "ec2_instances" not in {line["collector"] for line in plan["lines"]}
    assert plan["requests_per_month"] == pytest.approx(
        sum(line["requests_per_month"] for line in plan["lines"])
    )


@pytest.mark.parametrize(
    ("settings", "requests", "usd"),
    [
        ({}, 1 + 1 + 5 + 5, "3.60"),
        ({"reservations": ["rds"]}, 4, "1.20"),
        ({"savings_plans": False}, 10, "3.00"),
        # One by one replaces the request for the sum: what is more are pages.
        ({"each": True}, 1 + 1 + 5 + 5, "3.60"),
    ],
)  # fmt: skip
def test_commitments_are_priced_as_if_all_of_them_were_held(
    settings: dict[str, object], requests: int, usd: str
) -> None:
    Path("config.yaml").write_text(
        yaml.safe_dump({"collectors": {"commitments": {"enabled": True, **settings}}})
    )
    code, text = run("--accounts", "10", "--json")
    lines = [line for line in json.loads(text)["lines"] if line["collector"] == "commitments"]
    assert code == 0
    assert sum(line["requests_per_month"] for line in lines) == 30 * requests
    details = any(line["operation"] == "GetSavingsPlansUtilizationDetails" for line in lines)
    assert details == settings.get("each", False)
    assert sum(Decimal(line["usd_per_month"]) for line in lines) == Decimal(usd)


def test_a_run_over_its_ceiling_is_refused_with_exit_code_2() -> None:
    Path("config.yaml").write_text(
        yaml.safe_dump({"ceilings": {"cost": {"month": 0.5}}, "server": {"port": 0}})
    )
    result = CliRunner().invoke(main, ["run"])
    assert result.exit_code == 2


def test_discovery_can_show_that_a_plan_is_too_large(tmp_path: Path) -> None:
    config = load_config(None, {})
    ledger = Ledger(tmp_path / "ledger.sqlite")
    try:
        assert refusal(config, ledger, NOW) is None
        refused = refusal(config, ledger, NOW, accounts=5000)
    finally:
        ledger.close()
    assert refused is not None
    assert "ceilings.cost.month: found $10" in refused


def test_a_plan_that_is_as_dear_as_its_ceiling_is_within_it() -> None:
    config = load_config(None, {})
    scale, sources = scale_for(config, None, NOW, accounts=3)

    def over(month: Decimal) -> int:
        ceilings = CeilingSettings(cost=Ceiling(day=None, month=month), first_fill=None)
        return len(make_plan(config.model_copy(update={"ceilings": ceilings}), scale, sources, NOW).over)

    plan = make_plan(config, scale, sources, NOW)
    usd = plan.usd - plan.may_wait_usd
    assert (over(usd), over(usd - Decimal("0.01"))) == (0, 1)


LARGE = ("--accounts", "1000", "--services", "20", "--groups-per-page", "10000")


def test_old_days_that_a_ceiling_has_no_room_for_wait_and_refuse_nothing(tmp_path: Path) -> None:
    code, text = run(*LARGE, "--json")
    plan = json.loads(text)
    assert (code, plan["over_ceiling"]) == (0, [])
    assert plan["usd_per_month"] == "10.00"
    waiting = sum(Decimal(line["usd_per_month"]) for line in plan["lines"] if line["may_wait"])
    assert abs(waiting - Decimal(plan["may_wait_usd_per_month"])) <= Decimal("0.02")
    assert plan["waits"] == (
        "above ceilings.cost.month of $10, old days wait: months are compared about every 7 days,"
        " each old day is read again about every 353 days instead of every 90 days;"
        " without the ceiling $11.80 a month"
    )
    shown = run(*LARGE)[1]
    assert "of which may wait: days older than last month" in shown
    assert "Above ceilings.cost.month of $10, old days wait" in shown

    ledger = Ledger(tmp_path / "ledger.sqlite")
    try:
        ledger.facts.remember(PAGE_SIZE_FACT, 10_000)
        assert refused_collectors(load_config(None, {}), ledger, NOW, 1000) == {}
    finally:
        ledger.close()


def test_without_a_ceiling_and_where_all_fits_nothing_waits() -> None:
    assert json.loads(run("--json")[1])["waits"] is None
    Path("config.yaml").write_text(yaml.safe_dump({"ceilings": {"cost": {"day": None, "month": None}}}))
    plan = json.loads(run(*LARGE, "--json")[1])
    assert (plan["waits"], plan["usd_per_month"]) == (None, "11.80")


def test_old_days_leave_what_the_other_collectors_need() -> None:
    settings = {"cost_breakdowns": {"enabled": True}}
    Path("config.yaml").write_text(yaml.safe_dump({"collectors": settings}))
    small = ("--accounts", "500", "--services", "20", "--groups-per-page", "10000", "--json")
    plan = json.loads(run(*small)[1])
    needed = Decimal(plan["usd_per_month"]) - Decimal(plan["may_wait_usd_per_month"])
    assert plan["waits"] is None
    Path("config.yaml").write_text(
        yaml.safe_dump(
            {
                "collectors": settings,
                "ceilings": {"cost": {"month": str(needed + needed / 10 + Decimal("0.01"))}},
            }
        )
    )
    held = json.loads(run(*small)[1])
    assert Decimal(held["usd_per_month"]) - Decimal(held["may_wait_usd_per_month"]) == needed
    assert held["waits"] is not None
    assert held["over_ceiling"] == []


def test_check_says_what_waits_for_a_ceiling() -> None:
    plan = json.loads(run("--json")[1])
    needed = Decimal(plan["usd_per_month"]) - Decimal(plan["may_wait_usd_per_month"])
    Path("config.yaml").write_text(yaml.safe_dump({"ceilings": {"cost": {"month": float(needed)}}}))
    result = CliRunner().invoke(main, ["check"])
    assert (result.exit_code, result.output.splitlines()[0]) == (0, "The configuration is valid.")
    assert "old days wait: months are not compared, old days have no turn" in result.output
    as_json = json.loads(CliRunner().invoke(main, ["check", "--json"]).output)
    assert as_json["config"] == "valid"
    assert as_json["waits"].startswith("above ceilings.cost.month")


def test_a_first_fill_that_is_done_is_held_against_nothing(tmp_path: Path) -> None:
    ceilings = CeilingSettings(first_fill=Decimal("0.01"))
    config = load_config(None, {}).model_copy(update={"ceilings": ceilings})
    ledger = Ledger(tmp_path / "ledger.sqlite")
    try:
        assert (refusal(config, ledger, NOW) or "").startswith("ceilings.first_fill: found $0.01")
        days = days_between(month_start(NOW.date(), 13), NOW.date())
        ledger.reads.commit(CostRead(NOW, dict.fromkeys(days, False), {}))
        assert refusal(config, ledger, NOW) is None
    finally:
        ledger.close()


def test_the_price_is_that_of_its_lines() -> None:
    config = load_config(None, {})
    scale, sources = scale_for(config, None, NOW, accounts=3)
    plan = make_plan(config, scale, sources, NOW)
    assert plan.usd == sum(line.requests * Decimal("0.01") for line in plan.lines if line.service == "ce")


USAGE = {"collectors": {"usage": {"enabled": True}}, "ceilings": {"usage": {"day": None, "month": None}}}


def usage_lines(*arguments: str) -> dict[str, tuple[float, str]]:
    """Requests (metrics, for GetMetricData) and dollars of usage in a month, by operation."""
    code, text = run(*arguments, "--json")
    assert code == 0
    return {
        line["operation"]: (line["requests_per_month"], line["usd_per_month"])
        for line in json.loads(text)["lines"]
        if line["collector"] == "usage"
    }


def test_usage_is_priced_by_its_metrics() -> None:
    Path("config.yaml").write_text(yaml.safe_dump(USAGE))
    # 24 metrics each hour and 2 each six hours, of one resource each; 15 listings each three hours, one a
    # namespace. One of them, CloudFront's, is in one region only.
    places = 60 * 3
    metrics = places * (23 * 720 + 2 * 120) + 60 * 720
    listings = (places * 14 + 60) * 240
    assert usage_lines("--accounts", "60", "--regions", "3") == {
        "GetMetricData": (metrics, "30.67"),
        "ListMetrics": (listings, "6.19"),
    }


def test_fewer_metrics_and_longer_intervals_of_usage_cost_less() -> None:
    settings = {"enabled": True, "metrics": ["aws_lambda_*"], "interval": "2h"}
    Path("config.yaml").write_text(yaml.safe_dump({"collectors": {"usage": settings}}))
    assert usage_lines("--accounts", "60", "--regions", "3") == {
        "GetMetricData": (180 * 4 * 360, "2.59"),
        "ListMetrics": (180 * 240, "0.43"),
    }


def test_a_plan_of_usage_counts_the_resources_that_the_ledger_has_seen(tmp_path: Path) -> None:
    config = Config.model_validate(USAGE | {"regions": ["eu-west-1"]})
    ledger = Ledger(tmp_path / "ledger.sqlite")
    functions = [Series("aws_lambda_errors_total", f"function-{number}") for number in range(700)]
    buckets = [Series("aws_s3_objects", f"bucket-{number}") for number in range(30)]
    try:
        list_series(ledger, "cloudwatch", "111122223333", "eu-west-1", functions + buckets, NOW)
        scale, sources = scale_for(config, ledger, NOW)
        plan = make_plan(config, scale, sources, NOW)
    finally:
        ledger.close()
    assert (scale.usage_metrics, scale.daily_usage_metrics) == (700, 30)
    assert (sources["usage_metrics"], sources["daily_usage_metrics"]) == ("seen", "seen")
    (line,) = [line for line in plan.lines if line.operation == "GetMetricData"]
    assert line.requests == 700 * 720 + 30 * 120
    assert line.usd == line.requests * Decimal("0.00001")


def test_usage_over_its_ceiling_names_its_own_key_and_refuses_usage_alone(tmp_path: Path) -> None:
    config = Config.model_validate(USAGE | {"ceilings": {"usage": {"month": 1}}, "regions": ["eu-west-1"]})
    ledger = Ledger(tmp_path / "ledger.sqlite")
    try:
        refused = refused_collectors(config, ledger, NOW, accounts=10)
    finally:
        ledger.close()
    assert refused.keys() == {"usage"}
    assert "ceilings.usage.month: found $1, expected at least $2." in refused["usage"]
