"""The template of a data export: linted, closed to all but AWS's deliveries of one account, and an export that is read."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml
from deploy_files import ROOT, binary

from exporter.exports.cur2 import CUR2
from exporter.exports.delivery.discovery import query_problems

TEMPLATE = ROOT / "deploy" / "data-export.yaml"
NEITHER = {"tags"}  # a map of every kind of tag: AWS has it under another table configuration


class _Loader(yaml.SafeLoader):
    """CloudFormation's short functions as single-key mappings."""


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {suffix: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _function)
RESOURCES: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)["Resources"]  # noqa: S506


def test_cfn_lint_has_nothing_to_say() -> None:
    answer = subprocess.run(
        [binary("cfn-lint"), "--include-checks", "I", "--", str(TEMPLATE)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (answer.returncode, answer.stdout + answer.stderr) == (0, "")


def query(split_costs: bool) -> str:
    text, values = RESOURCES["Export"]["Properties"]["Export"]["DataQuery"]["QueryStatement"]["Sub"]
    _, with_split, without = values["Split"]["If"]
    return str(text).replace("${Split}", with_split if split_costs else without)


@pytest.mark.parametrize("split_costs", [False, True])
def test_the_export_is_whole_and_has_every_column_that_is_read(split_costs: bool) -> None:
    statement = query(split_costs)
    assert list(query_problems(statement, "cur2")) == []
    columns = re.split(
        r"\s*,\s*", statement.removeprefix("SELECT ").removesuffix(" FROM COST_AND_USAGE_REPORT")
    )
    assert len(columns) == len(set(columns)) > 100
    read = {name for name in CUR2.needed if split_costs or not name.startswith("split_line_item_")} - NEITHER
    assert read <= set(columns)
    split = [name for name in columns if name.startswith("split_line_item_")]
    assert bool(split) == split_costs


def test_deliveries_overwrite_parquet_of_each_hour_with_resources() -> None:
    export = RESOURCES["Export"]["Properties"]["Export"]
    configuration = export["DataQuery"]["TableConfigurations"]["COST_AND_USAGE_REPORT"]
    assert (configuration["TIME_GRANULARITY"], configuration["INCLUDE_RESOURCES"]) == ("HOURLY", "TRUE")
    assert export["DestinationConfigurations"]["S3Destination"]["S3OutputConfigurations"] == {
        "OutputType": "CUSTOM", "Format": "PARQUET", "Compression": "PARQUET", "Overwrite": "OVERWRITE_REPORT",
    }  # fmt: skip


def test_the_bucket_is_closed_to_all_but_deliveries_of_this_account() -> None:
    bucket = RESOURCES["Bucket"]
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    deliveries, tls = RESOURCES["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert deliveries["Effect"] == "Allow"
    assert deliveries["Principal"] == {
        "Service": ["bcm-data-exports.amazonaws.com", "billingreports.amazonaws.com"]
    }
    assert deliveries["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    assert len(deliveries["Condition"]["ArnLike"]["aws:SourceArn"]) == 2
    assert (tls["Effect"], tls["Principal"], tls["Action"]) == ("Deny", "*", "s3:*")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
