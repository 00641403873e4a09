"""What grafana/provisioning adds can stop no Grafana that has data sources, folders and a default already.

The rules are Grafana's own (pkg/services/provisioning): a data source is found by name and then given the file's
uid; two defaults in the files of one organization, and a uid or a name that exists with another partner, end its
start. tests/grafana_server holds them on a running server.
"""

from __future__ import annotations

from typing import Any

import yaml
from deploy_files import ROOT

from grafana import build
from grafana.builder.frame import PROVISIONED

_FOLDER = ROOT / "grafana" / "provisioning"
# What the first version provisioned, and what most installations call theirs.
_USED_NAMES = {"Prometheus", "prometheus"}
_USED_UIDS = {"aws-spend-prometheus", "prometheus"}


def _files(kind: str) -> dict[str, Any]:
    return {
        path.name: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in (_FOLDER / kind).glob("*.y*ml")
    }


def test_the_data_source_has_a_name_and_a_uid_that_no_other_has_and_is_no_default() -> None:
    (content,) = _files("datasources").values()
    (source,) = content["datasources"]
    assert source["name"] not in _USED_NAMES
    assert source["uid"] not in _USED_UIDS
    assert source["isDefault"] is False
    assert (source["name"], source["uid"]) == PROVISIONED


def test_the_url_follows_the_environment_at_every_start() -> None:
    """With a version, Grafana ignores the file from the second start on; editable, a viewer's change would be lost."""
    (content,) = _files("datasources").values()
    (source,) = content["datasources"]
    assert "version" not in source
    assert source["editable"] is False
    assert source["url"] == "$PROMETHEUS_URL"


def test_nothing_of_the_user_is_deleted() -> None:
    (sources,) = _files("datasources").values()
    (providers,) = _files("dashboards").values()
    assert sources.keys() == {"apiVersion", "datasources"}  # neither deleteDatasources nor prune
    assert [provider["disableDeletion"] for provider in providers["providers"]] == [True]


def test_a_folder_of_this_title_is_used_with_any_uid() -> None:
    (content,) = _files("dashboards").values()
    (provider,) = content["providers"]
    assert (provider["name"], provider["folder"]) == ("aws-spend", "AWS spend")
    assert "folderUid" not in provider


def test_the_files_overwrite_none_of_a_folder_that_they_are_copied_to() -> None:
    """Many a Grafana has a prometheus.yml there."""
    names = {name for kind in ("datasources", "dashboards") for name in _files(kind)}
    assert {name for name in names if not name.startswith("aws-spend")} == set()


def test_uids_and_titles_of_dashboards_are_unique() -> None:
    """Grafana writes neither of two dashboards with one uid."""
    dashboards = [yaml.safe_load(text) for text in build.render().values()]
    for key in ("uid", "title"):
        found = [dashboard[key] for dashboard in dashboards]
        assert len(set(found)) == len(found)
