"""A resource's link leads to the console of its partition, as Prometheus evaluates the label."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from grafana.builder.inventory import _console

LINKS = {
    (
        "eu-west-1",
        "ec2:instance",
        "i-1",
    ): "aws.amazon.com/ec2/home?region=eu-west-1#InstanceDetails:instanceId=i-1",
    ("us-gov-east-1", "ec2:volume", "vol-1"): (
        "amazonaws-us-gov.com/ec2/home?region=us-gov-east-1#VolumeDetails:volumeId=vol-1"
    ),
    (
        "cn-north-1",
        "rds:db",
        "orders",
    ): "amazonaws.cn/rds/home?region=cn-north-1#database:id=orders;is-cluster=false",
    ("eusc-de-east-1", "s3:bucket", "logs"): "amazonaws-eusc.eu/s3/buckets/logs?region=eusc-de-east-1",
    ("eusc-de-east-1", "mq:broker", "b-1"): "amazonaws-eusc.eu/console/home?region=eusc-de-east-1",
}


def test_a_link_leads_to_the_console_of_its_partition(tmp_path: Path) -> None:
    series = [
        f'cost{{region="{region}", resource_type="{kind}", resource_id="{identifier}"}}'
        for region, kind, identifier in LINKS
    ]
    expected = [
        {"labels": f'{name[:-1]}, console="{console}"}}', "value": 1}
        for name, console in zip(series, LINKS.values(), strict=True)
    ]
    rules = {
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": "1 1"} for name in series],
                "promql_expr_test": [{"expr": _console("cost"), "eval_time": "1m", "exp_samples": expected}],
            }
        ]
    }
    path = tmp_path / "links.json"  # JSON is YAML
    path.write_text(json.dumps(rules))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["account", "inventory"])
def test_the_dashboards_have_no_domain_of_their_own(name: str) -> None:
    text = (Path(__file__).parents[2] / "grafana" / "dashboards" / f"{name}.json").read_text()
    assert "https://${__data.fields.Region}.console.${__data.fields.console}" in text
