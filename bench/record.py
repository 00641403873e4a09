"""Record what the simulated AWS answers for one account, for the replay server of `bench.scale`.

python -m bench.record

Writes the recording in bench/replay: each answer of the inventory's requests as it went over the wire, and every
metric that CloudWatch lists. Run it again when the exporter sends other requests; `bench.scale` prints how many
the recording lacks.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import Any

import boto3
import click
import yaml

from demo.processes import DemoError, Processes, choose_ports
from exporter.core.moments import utc_now
from simulated_aws import OrganizationSpec, SimulatedAws
from simulated_aws.wire import AwsCall, Response, read_call

REGIONS = ("us-east-1", "eu-central-1", "eu-west-1", "us-west-2")
RECORDING = Path(__file__).parent / "replay" / "recording.json.gz"
TIMEOUT_SECONDS = 600
# The replay server makes up the answers of these: they follow what is asked for.
SYNTHESIZED = frozenset({"ce", "cloudwatch", "organizations", "sts"})
# What an answer means; the rest of its headers differs from answer to answer.
KEPT_HEADERS = frozenset({"content-type", "smithy-protocol", "x-amzn-errortype", "x-amz-bucket-region"})


class RecordedAws(SimulatedAws):
    """A simulated AWS that remembers its answers to one account, by request."""

    def __init__(self, spec: OrganizationSpec) -> None:
        """The account is the first that is not the payer."""
        super().__init__(spec)
        self.recorded_id = self.accounts[1].id
        self.exchanges: dict[tuple[Any, ...], dict[str, Any]] = {}

    def _answer(self, environ: Mapping[str, Any], body: bytes) -> Response:
        response = super()._answer(environ, body)
        call = read_call(environ, body, self._names)
        if (
            self.identity.account_of(call.access_key) == self.recorded_id
            and call.service not in SYNTHESIZED
            and response.status < 500
        ):
            exchange = _exchange(call, str(environ["REQUEST_METHOD"]), body, response)
            self.exchanges[tuple(exchange["request"].values())] = exchange
        return response


def _exchange(call: AwsCall, method: str, body: bytes, response: Response) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return {
        "service": call.service,
        "operation": call.operation,
        "request": {
            "region": call.region,
            "method": method,
            "path": call.path,
            "query": call.query,
            "target": call.headers.get("x-amz-target", ""),
            "body": base64.b64encode(body).decode(),
        },
        "status": response.status,
        "headers": {name: headers[name] for name in sorted(KEPT_HEADERS & headers.keys())},
        "body": base64.b64encode(response.body).decode(),
    }


def _metrics(aws: SimulatedAws, account_id: str) -> Iterator[dict[str, Any]]:
    """Every metric of the account, and whether it was active within three hours."""
    sts = boto3.session.Session().client("sts", **_access(aws.environment(), aws.url, REGIONS[0]))
    role = f"arn:aws:iam::{account_id}:role/{aws.spec.member_role}"
    keys = sts.assume_role(RoleArn=role, RoleSessionName="recording")["Credentials"]
    session = boto3.session.Session(
        keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=REGIONS[0]
    )
    for region in REGIONS:
        client = session.client("cloudwatch", endpoint_url=aws.url, region_name=region)
        pages = client.get_paginator("list_metrics")
        recent = [
            json.dumps(each) for page in pages.paginate(RecentlyActive="PT3H") for each in page["Metrics"]
        ]
        for page in pages.paginate():
            for metric in page["Metrics"]:
                yield {
                    "region": region,
                    "namespace": metric["Namespace"],
                    "name": metric["MetricName"],
                    "dimensions": [[each["Name"], each["Value"]] for each in metric["Dimensions"]],
                    "recent": json.dumps(metric) in recent,
                }


def _access(environment: Mapping[str, str], url: str, region: str) -> dict[str, str]:
    return {
        "aws_access_key_id": environment["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": environment["AWS_SECRET_ACCESS_KEY"],
        "endpoint_url": url,
        "region_name": region,
    }


def _collect_once(aws: RecordedAws, processes: Processes) -> None:
    """Run the exporter with inventory and usage until it has read everything; DemoError after ten minutes."""
    port = choose_ports({"exporter": 0})["exporter"]
    config = processes.folder / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "data_dir": str(processes.folder / "data"),
                "server": {"port": port},
                "accounts": {"discovery": "organizations", "role_name": aws.spec.member_role},
                "regions": list(REGIONS),
                "aws": {"region": REGIONS[0]},
                "ceilings": {"usage": {"day": None, "month": None}},
                "collectors": {
                    "cost": {"enabled": False},
                    "forecast": {"enabled": False},
                    "inventory": {"enabled": True},
                    "usage": {"enabled": True},
                },
            }
        )
    )
    argv = [sys.executable, "-m", "exporter", "run", "--config", str(config)]
    exporter = processes.start("exporter", argv, {**os.environ, **aws.environment()})
    processes.wait_ready(exporter, f"http://127.0.0.1:{port}/-/ready", TIMEOUT_SECONDS)


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=RECORDING, show_default=True)
def main(output: Path) -> None:
    """Record one account in four regions."""
    aws = RecordedAws(OrganizationSpec(accounts=2, regions=REGIONS))
    with aws:
        with Processes(Event()) as processes:
            try:
                _collect_once(aws, processes)
            except DemoError as error:
                raise click.ClickException(str(error)) from None
        recording = {
            "recorded_at": utc_now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "account_id": aws.recorded_id,
            "account": aws.accounts[1].name,
            "regions": list(REGIONS),
            "exchanges": [aws.exchanges[key] for key in sorted(aws.exchanges)],
            "metrics": list(_metrics(aws, aws.recorded_id)),
        }
    # The same recording is the same file: no time in its header.
    output.write_bytes(gzip.compress(json.dumps(recording, indent=0).encode(), mtime=0))
    click.echo(
        f"{len(recording['exchanges'])} answers and {len(recording['metrics'])} metrics,"
        f" {output.stat().st_size} bytes: {output}"
    )


if __name__ == "__main__":
    main()
