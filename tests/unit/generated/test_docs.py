"""What is written twice is equal: policies, the metrics reference, and what the declarations say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.collectors import all_collectors
from exporter.config.schema import config_schema_text
from exporter.generated.iam import member_policy, payer_policy, policy_files
from exporter.generated.reference import metrics_markdown
from exporter.inventory.listing import ResourceFile
from exporter.resources import all_resource_files

ROOT = Path(__file__).parents[3]


def test_the_metrics_reference_is_what_is_declared() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == metrics_markdown(), "run `make docs`"


def test_the_schema_of_the_configuration_is_what_the_models_say() -> None:
    assert (ROOT / "config.schema.json").read_text() == config_schema_text(), "run `make docs`"


def test_the_example_fits_the_schema_and_a_misspelt_key_or_value_does_not(tmp_path: Path) -> None:
    example = (ROOT / "config.example.yaml").read_text()
    for text, fits in (
        (example, True),
        (example.replace("data_dir:", "data_dri:"), False),
        (example.replace("interval: 6h", "interval: six hours"), False),
        (example.replace("discovery: organizations", "discovery: all"), False),
    ):
        file = tmp_path / "config.yaml"
        file.write_text(text)
        schema = ROOT / "config.schema.json"
        done = subprocess.run(
            [sys.executable, "-m", "check_jsonschema", "--schemafile", schema, file],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode == 0) is fits, done.stdout + done.stderr


def test_the_policy_files_are_what_is_derived() -> None:
    folder = ROOT / "iam_policies"
    assert {path.name: path.read_text() for path in folder.iterdir()} == policy_files(), "run `make docs`"


def test_every_declared_action_is_in_the_policy_of_its_role() -> None:
    granted = {
        action
        for policy in (payer_policy(), member_policy())
        for s in policy["Statement"]
        for action in s["Action"]
    }
    declared = {action for collector in all_collectors() for action in collector.iam_actions}
    assert declared <= granted


@pytest.mark.parametrize("file", all_resource_files(), ids=lambda file: file.name)
def test_an_inventory_service_is_declared_in_full(file: ResourceFile) -> None:
    """Its file is named after it, its actions are in the member's policy, and what it asks AWS for is planned."""
    names = {path.stem.rstrip("_") for path in (ROOT / "exporter" / "resources").glob("*.py")}
    assert file.name in names
    (granted,) = (each["Action"] for each in member_policy()["Statement"] if each["Sid"] == "Inventory")
    assert set(file.iam_actions) <= set(granted)
    assert set(file.cost_services) <= set(file.types)
    source = (
        ROOT / "exporter" / "resources" / f"{file.name}.py".replace("lambda.py", "lambda_.py")
    ).read_text()
    asked = set(re.findall(r'"((?:Describe|List|Get)[A-Za-z]+)"', source))
    assert asked - {"GetBucketLocation"} <= {call.operation for call in file.calls}


def test_no_policy_grants_a_wildcard_or_a_write() -> None:
    reading = ("Describe", "Get", "List", "View", "AssumeRole")
    for policy in (payer_policy(), member_policy()):
        for statement in policy["Statement"]:
            for action in statement["Action"]:
                assert "*" not in action
                assert action.split(":")[1].startswith(reading)


@pytest.mark.parametrize("collector", all_collectors(), ids=lambda collector: collector.name)
def test_a_collectors_file_is_named_after_it(collector: object) -> None:
    name = collector.name  # type: ignore[attr-defined]
    assert (ROOT / "exporter" / "collectors" / f"{name}.py").exists()
