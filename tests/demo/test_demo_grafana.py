"""The demo's Grafana: found wherever it is installed, set up as compose's is, and looked at by --check."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import fake_grafana
import pytest
import yaml
from waiting import wait_for

from demo import configs, grafana, http
from demo.errors import DemoError
from demo.options import Options, scrape_seconds
from demo.processes import Processes, choose_ports
from demo.stack import find_program

PROJECT = configs.project_folder()
# What differs between a container behind a password and a process on loopback that ends with the demo.
PLACES = {
    "GF_AUTH_ANONYMOUS_ENABLED",
    "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH",
    "PROMETHEUS_URL",
    "DASHBOARDS_PATH",
}
SECRET = {"GF_SECURITY_ADMIN_PASSWORD__FILE"}


def installed(folder: Path) -> Path:
    (folder / "conf").mkdir(parents=True)
    (folder / "conf" / "defaults.ini").touch()
    return folder


def program(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return str(path)


def test_an_archive_has_its_home_above_the_program(tmp_path: Path) -> None:
    home = installed(tmp_path / "grafana-13.2.3")
    found = grafana.Installation.of(program(home / "bin" / "grafana"), {})
    assert found.command() == [str(home / "bin" / "grafana"), "server", "--homepath", str(home)]


def test_a_link_on_the_path_leads_to_the_home(tmp_path: Path) -> None:
    home = installed(tmp_path / "opt" / "grafana")
    program(home / "bin" / "grafana")
    link = tmp_path / "bin" / "grafana"
    link.parent.mkdir()
    link.symlink_to(home / "bin" / "grafana")
    assert grafana.Installation.of(str(link), {}).home == home


def test_a_package_has_its_home_in_the_share_folder_beside(tmp_path: Path) -> None:
    home = installed(tmp_path / "usr" / "share" / "grafana")
    found = grafana.Installation.of(program(tmp_path / "usr" / "sbin" / "grafana-server"), {})
    assert found.command() == [str(tmp_path / "usr" / "sbin" / "grafana-server"), "--homepath", str(home)]


def test_debians_home_is_found_from_anywhere(tmp_path: Path) -> None:
    home = installed(tmp_path / "debian")
    assert grafana.Installation.of(program(tmp_path / "x" / "bin" / "grafana"), {}, home).home == home


def test_the_variable_comes_first(tmp_path: Path) -> None:
    named, beside = installed(tmp_path / "named"), installed(tmp_path / "beside")
    found = grafana.Installation.of(program(beside / "bin" / "grafana"), {"GF_PATHS_HOME": str(named)})
    assert found.home == named


def test_a_program_without_a_home_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(grafana.GrafanaError) as error:
        grafana.Installation.of(program(tmp_path / "bin" / "grafana"), {}, tmp_path / "none")
    assert str(error.value) == (
        f"no home folder with conf/defaults.ini belongs to {tmp_path / 'bin' / 'grafana'}; "
        "GF_PATHS_HOME can name it"
    )


def test_the_demo_and_compose_run_the_same_grafana(tmp_path: Path) -> None:
    compose = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]["grafana"][
        "environment"
    ]
    demo = grafana.environment(PROJECT, tmp_path, 3000, "http://127.0.0.1:9090")
    assert {name for name, value in compose.items() if demo.get(name) != value} == PLACES | SECRET
    assert {name for name in demo if name not in compose} == {
        "GF_SERVER_HTTP_ADDR",
        "GF_SERVER_HTTP_PORT",
        "GF_PATHS_DATA",
        "GF_PATHS_LOGS",
        "GF_PATHS_PLUGINS",
        "GF_PATHS_PROVISIONING",
        "GF_AUTH_ANONYMOUS_ORG_ROLE",
    }


def test_nothing_is_downloaded_or_reported_and_the_home_page_is_overview(tmp_path: Path) -> None:
    demo = grafana.environment(PROJECT, tmp_path, 3000, "http://127.0.0.1:9090")
    switches = {
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
    }
    assert switches.items() <= demo.items()
    home = Path(demo["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.name == "overview.json"
    assert home.is_file()
    assert demo["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"


@pytest.fixture(scope="module")
def prometheus() -> Iterator[str]:
    found = find_program("prometheus")
    if found is None:
        pytest.skip("prometheus is not on the PATH")
    with Processes(Event()) as processes:
        port = choose_ports({"prometheus": 0})["prometheus"]
        config = configs.write_yaml(
            processes.folder / "prometheus.yml",
            {
                "global": {"scrape_interval": "1s"},
                "scrape_configs": [{"job_name": "x", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
            },
        )
        url = f"http://127.0.0.1:{port}"
        child = processes.start(
            "prometheus",
            [
                found,
                f"--config.file={config}",
                f"--storage.tsdb.path={processes.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
        )
        processes.wait_ready(child, f"{url}/-/ready", 60)
        yield url


def started(processes: Processes, folder: Path, project: Path, prometheus: str) -> str:
    port = choose_ports({"grafana": 0})["grafana"]
    found = grafana.Installation.of(str(fake_grafana.install(folder)), {})
    child = processes.start(
        "grafana", found.command(), grafana.environment(project, folder / "data", port, prometheus)
    )
    processes.wait_ready(child, f"http://127.0.0.1:{port}/api/health", 60)
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with two dashboards, one of which asks what Prometheus has by itself."""
    folder = tmp_path / "project"
    (folder / "grafana" / "dashboards").mkdir(parents=True)
    shutil.copytree(PROJECT / "grafana" / "provisioning", folder / "grafana" / "provisioning")
    shutil.copy(PROJECT / "docker-compose.yml", folder)
    for uid, expression in (("aws-spend-exporter", "max(up)"), ("aws-spend-overview", 'up{a="$account"}')):
        (folder / "grafana" / "dashboards" / f"{uid}.json").write_text(
            json.dumps(
                {
                    "uid": uid,
                    "title": uid,
                    "tags": ["aws-spend"],
                    "templating": {"list": []},
                    "panels": [
                        {
                            "id": 1,
                            "title": "Up",
                            "type": "stat",
                            "targets": [{"refId": "A", "expr": expression, "instant": True}],
                        }
                    ],
                }
            )
        )
    return folder


def test_check_sees_dashboards_and_asks_a_panels_query(
    tmp_path: Path, project: Path, prometheus: str
) -> None:
    wait_for(
        "Prometheus has scraped", lambda: http.get(f"{prometheus}/api/v1/query", query="up")["data"]["result"]
    )
    with Processes(Event()) as processes:
        url = started(processes, tmp_path / "grafana", project, prometheus)
        assert grafana.check(url, project, processes.wait_until) == "2 dashboards; Up: 1"


def _impatient(processes: Processes) -> grafana.Wait:
    return lambda what, probe, timeout: processes.wait_until(what, probe, 0.5)


def test_check_finds_a_dashboard_that_is_missing(tmp_path: Path, project: Path, prometheus: str) -> None:
    with Processes(Event()) as processes:
        url = started(processes, tmp_path / "grafana", project, prometheus)
        late = project / "grafana" / "dashboards" / "late.json"
        late.write_text('{"uid": "aws-spend-late"}')
        with pytest.raises(DemoError, match=r"dashboards are missing in Grafana: .*: aws-spend-late$"):
            grafana.check(url, project, _impatient(processes))


def test_check_finds_a_data_source_that_does_not_answer(tmp_path: Path, project: Path) -> None:
    nowhere = f"http://127.0.0.1:{choose_ports({'nowhere': 0})['nowhere']}"
    with Processes(Event()) as processes:
        url = started(processes, tmp_path / "grafana", project, nowhere)
        with pytest.raises(DemoError):
            grafana.check(url, project, _impatient(processes))


def test_check_finds_an_empty_panel(tmp_path: Path, project: Path, prometheus: str) -> None:
    path = project / "grafana" / "dashboards" / "aws-spend-exporter.json"
    path.write_text(path.read_text().replace("max(up)", "max(down)"))
    with Processes(Event()) as processes:
        url = started(processes, tmp_path / "grafana", project, prometheus)
        with pytest.raises(DemoError, match=r"the panel 'Up' is empty in Grafana: not within 0\.5 s"):
            grafana.check(url, project, _impatient(processes))


def test_intervals_grow_with_the_accounts() -> None:
    """Else the reads of 300 accounts never end: those that are due again come before those never read."""
    usual, many = Options(), Options(accounts=300)
    assert usual.awaits_units()
    assert not many.awaits_units()
    assert not Options(inventory=True).awaits_units()
    assert (usual.cost_seconds(), usual.units_seconds(), scrape_seconds(usual.accounts)) == (3, 30, 1)
    assert (many.cost_seconds(), many.units_seconds(), scrape_seconds(many.accounts)) == (30, 300, 5)


def test_the_stand_in_needs_a_home_folder_as_grafana_does(tmp_path: Path) -> None:
    fake = fake_grafana.install(tmp_path / "grafana")
    done = subprocess.run([fake, "server"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Could not find config defaults" in done.stderr
