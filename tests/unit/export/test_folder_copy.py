"""Folders, copied whole or not at all."""

import pytest

from proxtune.errors import UserError
from proxtune.export.folder_copy import copy_folder


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source" / "nested").mkdir(parents=True)
    (tmp_path / "source" / "nested" / "file").write_text("words")
    return tmp_path / "source"


def nothing_left(folder, *names):
    assert sorted(place.name for place in folder.iterdir()) == sorted(names)


def test_a_copy_has_every_file(source, tmp_path):
    copy_folder(source, tmp_path / "out")
    assert (tmp_path / "out" / "nested" / "file").read_text() == "words"
    nothing_left(tmp_path, "source", "out")


def test_a_link_that_leads_out_is_not_followed(source, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (source / "notes.md").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(UserError, match="leads out of its folder"):
        copy_folder(source, tmp_path / "out")
    nothing_left(tmp_path, "source", "secret.txt")


def test_a_disk_that_is_full_leaves_nothing(source, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("proxtune.export.folder_copy.replace_folder", full)
    with pytest.raises(OSError, match="No space left"):
        copy_folder(source, tmp_path / "out")
    nothing_left(tmp_path, "source")
