"""`plan` prices a configuration without asking AWS anything."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from exporter.cli import main
from exporter.config import load_config
from exporter.ledger import Ledger
from exporter.plan import make_plan, refusal, scale_for

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
    assert Decimal(plan["usd_per_month"]) <= 3


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


def test_the_price_is_that_of_its_lines() -> None:
    config = load_config(None, {})
    scale, sources = scale_for(config, None, NOW, accounts=3)
    plan = make_plan(config, scale, sources, NOW)
    assert plan.usd == sum(line.requests * Decimal("0.01") for line in plan.lines if line.service == "ce")
