"""Folders of temporary files: those of running processes stay, those of killed ones go."""

from __future__ import annotations

from pathlib import Path

from exporter.exports.delivery.work_folders import work_folder


def test_a_folder_in_use_stays_and_one_that_was_left_goes(tmp_path: Path) -> None:
    parent = tmp_path / "spill"
    (parent / "file-left").mkdir(parents=True)
    (parent / "file-left" / "lines").write_text("of a process that was killed")
    (parent / "fold-left").mkdir()
    with work_folder(parent, "file-") as first:
        (first / "lines").write_text("being read")
        with work_folder(parent, "file-") as second:
            assert second != first
            assert (first / "lines").read_text() == "being read"
        assert not second.exists()
    assert [path.name for path in parent.iterdir()] == ["fold-left"]
