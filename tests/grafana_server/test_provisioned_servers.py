"""Our files added to a Grafana that is in use: it starts, and keeps what it had.

With the stand-in, which keeps Grafana's rules, and with the Grafana on the PATH where there is one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import fake_grafana
import pytest
import servers
import yaml
from waiting import wait_for

from demo import grafana
from demo.errors import DemoError
from demo.processes import choose_ports

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

THEIRS = {"name": "Prometheus", "uid": "theirs", "type": "prometheus", "access": "proxy",
          "url": "http://prometheus.example:9090", "isDefault": True}  # fmt: skip
# What 0.1 provisioned.
FIRST = {"name": "Prometheus", "uid": "aws-spend-prometheus", "type": "prometheus", "access": "proxy",
         "url": "$PROMETHEUS_URL", "isDefault": True, "editable": False}  # fmt: skip
OURS = ("AWS spend (Prometheus)", "aws-spend")
UIDS = grafana.provisioned_dashboards(servers.PROJECT)


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.grafana)])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[grafana.Installation]:
    if request.param == "real":
        try:
            yield servers.real()
        except DemoError as error:
            pytest.skip(str(error))
    else:
        yield grafana.Installation.of(str(fake_grafana.install(tmp_path / "grafana")), {})


@pytest.fixture(scope="module")
def nowhere() -> str:
    """The address of a Prometheus; none of these tests asks it."""
    return f"http://127.0.0.1:{choose_ports({'prometheus': 0})['prometheus']}"


def folder(tmp_path: Path, name: str, *sources: dict[str, object], ours: bool = True) -> Path:
    """Provisioning files: theirs in a file that is called as most are, and ours beside."""
    made = tmp_path / name
    if ours:
        shutil.copytree(servers.PROVISIONING, made)
    for kind in ("datasources", "dashboards"):
        (made / kind).mkdir(parents=True, exist_ok=True)
    if sources:
        content = {"apiVersion": 1, "datasources": list(sources)}
        path = made / "datasources" / "prometheus.yml"
        assert not path.exists()
        path.write_text(yaml.safe_dump(content))
    return made


def sources(url: str) -> dict[str, tuple[str, bool]]:
    return {each["name"]: (each["uid"], each["isDefault"]) for each in servers.get(url, "/api/datasources")}


def test_a_grafana_with_another_default_called_prometheus_starts(
    installation: grafana.Installation, tmp_path: Path, nowhere: str
) -> None:
    data = tmp_path / "data"
    before = str(folder(tmp_path, "before", THEIRS, ours=False))
    with servers.running(installation, data, nowhere, GF_PATHS_PROVISIONING=before) as url:
        assert sources(url) == {"Prometheus": ("theirs", True)}
    after = str(folder(tmp_path, "after", THEIRS))
    for _ in range(2):  # a second start changes nothing
        with servers.running(installation, data, nowhere, GF_PATHS_PROVISIONING=after) as url:
            servers.wait_for_dashboards(url, UIDS, wait_for)
            assert sources(url) == {"Prometheus": ("theirs", True), OURS[0]: (OURS[1], False)}


def test_a_grafana_of_the_first_version_starts(
    installation: grafana.Installation, tmp_path: Path, nowhere: str
) -> None:
    """It has our former data source, and a folder of our title with a uid that Grafana made."""
    data = tmp_path / "data"
    before = folder(tmp_path, "before", FIRST)
    (before / "datasources" / "aws-spend.yml").unlink()
    with servers.running(installation, data, nowhere, GF_PATHS_PROVISIONING=str(before)) as url:
        servers.wait_for_dashboards(url, UIDS, wait_for)
        assert sources(url) == {"Prometheus": ("aws-spend-prometheus", True)}
    with servers.running(installation, data, nowhere) as url:
        servers.wait_for_dashboards(url, UIDS, wait_for)
        found = sources(url)
        assert found[OURS[0]] == (OURS[1], False)
        assert found["Prometheus"] == ("aws-spend-prometheus", True)
        folders = {each["folderTitle"] for each in servers.get(url, "/api/search?type=dash-db&limit=500")}
        assert folders == {"AWS spend"}


def test_another_prometheus_is_used_from_the_next_start_on(
    installation: grafana.Installation, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for port in (1001, 1002, 1003):
        with servers.running(installation, data, f"http://127.0.0.1:{port}") as url:
            (ours,) = (each for each in servers.get(url, "/api/datasources") if each["uid"] == OURS[1])
            assert ours["url"] == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "Prometheus"}, "data source not found"),
        ({"uid": "theirs"}, "data source with the same uid already exists"),
        ({"isDefault": True}, "Only one datasource per organization can be marked as default"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_the_stand_in_refuses_what_grafana_refuses(
    change: dict[str, object], reason: str, tmp_path: Path, nowhere: str
) -> None:
    """Each was a way in which our files ended the start of a Grafana, or is one into which they could fall."""
    installation = grafana.Installation.of(str(fake_grafana.install(tmp_path / "grafana")), {})
    made = folder(tmp_path, "provisioning", THEIRS)
    path = made / "datasources" / "aws-spend.yml"
    content = yaml.safe_load(path.read_text())
    content["datasources"][0] |= change
    (made / "datasources" / "sorted-last.yml").write_text(yaml.safe_dump(content))
    path.unlink()
    with (
        pytest.raises(DemoError, match=reason),
        servers.running(installation, tmp_path / "data", nowhere, GF_PATHS_PROVISIONING=str(made)),
    ):
        pass


def test_the_stand_in_refuses_a_folder_of_the_same_title_with_another_uid(
    tmp_path: Path, nowhere: str
) -> None:
    installation = grafana.Installation.of(str(fake_grafana.install(tmp_path / "grafana")), {})
    data = tmp_path / "data"
    with servers.running(installation, data, nowhere):
        pass
    assert json.loads((data / "database.json").read_text())["folders"][0]["title"] == "AWS spend"
    made = folder(tmp_path, "provisioning")
    path = made / "dashboards" / "aws-spend.yml"
    content = yaml.safe_load(path.read_text())
    content["providers"][0]["folderUid"] = "aws-spend"
    path.write_text(yaml.safe_dump(content))
    with (
        pytest.raises(DemoError, match="a folder with the same name already exists"),
        servers.running(installation, data, nowhere, GF_PATHS_PROVISIONING=str(made)),
    ):
        pass
