"""The configuration of the demo's exporter is one, from either source of cost."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from demo.exporter_config import Places, exporter_config
from demo.options import CostSource, Options
from demo.thresholds import Thresholds
from exporter.collection.plan import make_plan, scale_for
from exporter.config.model import Config

SERVERS = ("simulator", "exporter", "prometheus", "relay")


def configured(source: CostSource, tmp_path: Path) -> Config:
    places = Places(
        folder=tmp_path,
        ports={name: 20_000 + number for number, name in enumerate(SERVERS)},
        urls={name: f"http://127.0.0.1:{20_000 + number}" for number, name in enumerate(SERVERS)},
        telex_url_file=tmp_path / "telex-url",
        relay_password_file=tmp_path / "relay-password",
        telex_host="127.0.0.1:20009",
    )
    for path in (places.telex_url_file, places.relay_password_file):
        path.write_text("http://127.0.0.1:20009/hook")
    members = exporter_config(Options(cost_source=source), Thresholds(Decimal(100), {}), places)
    return Config.model_validate(members)


def paid(config: Config) -> set[str]:
    """The collectors whose requests to Cost Explorer are paid."""
    now = datetime.now(UTC)
    plan = make_plan(config, *scale_for(config, None, now), now)
    return {line.collector for line in plan.lines if line.service == "ce"}


def test_with_a_data_export_nothing_is_paid_for_cost(tmp_path: Path) -> None:
    of_cost = {"cost", "cost_breakdowns", "cost_hours"}
    from_cost_explorer, exported = (
        paid(configured(source, tmp_path)) for source in ("cost_explorer", "data_export")
    )
    assert of_cost <= from_cost_explorer
    assert exported == from_cost_explorer - of_cost
