"""What a panel says of its collectors, by Prometheus' own arithmetic: off, not read yet, no exporter, or nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from grafana.builder.collected import EC2_INSTANCES, INVENTORY

ENABLED = 'aws_spend_exporter_collector_errors_total{collector="%s", kind="throttled"}'
READ = 'aws_spend_exporter_collector_last_success_timestamp_seconds{collector="%s"}'
ON, COST_ON, INSTANCES_ON = ENABLED % "inventory", ENABLED % "cost", ENABLED % "ec2_instances"
BEEN_READ, COST_READ = READ % "inventory", READ % "cost"


def _row(expr: str) -> dict[str, object]:
    return {"expr": expr, "eval_time": "5m"}


@pytest.mark.parametrize(
    ("served", "text"),
    [
        ((), "no exporter was scraped"),
        ((COST_ON, COST_READ), "off: switch on collectors.inventory"),
        ((COST_ON, COST_READ, ON), "not read yet: see Exporter"),
        ((COST_ON, COST_READ, ON, BEEN_READ), None),
    ],
    ids=["no exporter", "off", "not read", "read"],
)
def test_the_state_of_a_collector(served: tuple[str, ...], text: str | None, tmp_path: Path) -> None:
    states = INVENTORY.state("type")
    zero = INVENTORY.or_zero("sum(aws_resources)")
    value = {"no exporter was scraped": -2, "off: switch on collectors.inventory": 0}.get(text or "", -1)
    shown = [{"labels": f'{{type="{text}"}}', "value": value}] if text else []
    nothing = [] if text else [{"labels": "{}", "value": 0}]
    _hold(
        tmp_path,
        served,
        [_row(states) | {"exp_samples": shown}, _row(zero) | {"exp_samples": nothing}],
    )


def test_one_of_two_collectors_is_enough(tmp_path: Path) -> None:
    served = (COST_ON, INSTANCES_ON, READ % "ec2_instances")
    _hold(tmp_path, served, [_row(EC2_INSTANCES.state("type")) | {"exp_samples": []}])


def _hold(folder: Path, served: tuple[str, ...], queries: list[dict[str, object]]) -> None:
    test = {
        "interval": "1m",
        "input_series": [{"series": series, "values": "1x10"} for series in served],
        "promql_expr_test": queries,
    }
    (folder / "states.yml").write_text(yaml.safe_dump({"tests": [test]}), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "test", "rules", str(folder / "states.yml")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
