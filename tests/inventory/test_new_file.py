"""A new file alone is enough: registered, documented, planned, listed, and its IAM actions in the policy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

_SHOW = """
import json, sys
from pathlib import Path
from exporter.generated import reference
from exporter.config.model import Config
from exporter.collectors import all_collectors
from exporter.collection.plan import make_plan, scale_for
from exporter.core.moments import utc_now
root = Path(sys.argv[1])
reference.write(root)
config = Config.model_validate({"regions": ["us-east-1"], "collectors": {"inventory": {"enabled": True}}})
(inventory,) = [each for each in all_collectors() if each.name == "inventory"]
plan = make_plan(config, *scale_for(config, None, utc_now(), accounts=2), utc_now())
print(json.dumps({
    "units": [unit.name for unit in inventory.units(config.settings(inventory))],
    "requests": {f"{line.service}:{line.operation}": float(line.requests) for line in plan.lines},
}))
"""


# A service that has no file here.
_EXAMPLE = '''"""Glue jobs."""

from collections.abc import Iterator

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import Call, Listing, ResourceFile


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    for job in ctx.items(target, "glue", "GetJobs", "Jobs"):
        yield Resource(id=job["Name"], type="glue:job", name=job["Name"], state="active", created=job["CreatedOn"])


RESOURCES = ResourceFile(
    name="glue",
    help="Jobs.",
    scope=Scope.REGION,
    service="glue",
    types=("glue:job",),
    iam_actions=("glue:GetJobs",),
    calls=(Call("GetJobs", "two", 2),),
    list=list_resources,
    cost_services={},
)
'''


def test_a_file_alone_is_enough(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "exporter", tmp_path / "exporter", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "prometheus", tmp_path / "prometheus")
    for folder in ("docs", "iam_policies", "deploy/kubernetes"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "exporter" / "resources" / "glue.py").write_text(_EXAMPLE)
    shown = subprocess.run(
        [sys.executable, "-c", _SHOW, str(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer = json.loads(shown.stdout)
    assert "inventory_glue" in answer["units"]
    # Two accounts, one region, 720 runs; two requests each are assumed.
    assert answer["requests"]["glue:GetJobs"] == 2880
    policy = json.loads((tmp_path / "iam_policies" / "member-role.json").read_text())
    (actions,) = (each["Action"] for each in policy["Statement"] if each["Sid"] == "Inventory")
    assert "glue:GetJobs" in actions
    assert "`glue:job`" in (tmp_path / "docs" / "metrics.md").read_text()
    # Nothing of it is in the project itself.
    assert "glue:" not in (ROOT / "iam_policies" / "member-role.json").read_text()


def test_the_worked_example_is_a_file_of_the_inventory() -> None:
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## Adding an inventory service")[1]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    assert found[1] == (ROOT / "exporter" / "resources" / "mq.py").read_text()
