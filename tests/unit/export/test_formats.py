"""Exports: what is there is never overwritten, and failures leave nothing."""

import json

import pytest

from proxtune.errors import UserError
from proxtune.export.formats import export
from proxtune.export.registry import format_names
from support.commands import proxtune_in_a_process


def test_the_command_says_what_it_made(run_dir, tmp_path):
    out = tmp_path / "copy"
    done = proxtune_in_a_process("export", str(run_dir), "--out", str(out), "--format", "safetensors", "--json")
    assert done.returncode == 0, done.stderr
    made = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    assert json.loads(done.stdout.splitlines()[-1]) == {"format": "safetensors", "out": str(out), "bytes": made}


@pytest.mark.parametrize("kind", format_names())
def test_what_is_there_is_never_overwritten(run_with_adapter, tmp_path, kind):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("mine", "link"):
        with pytest.raises(UserError, match="never overwritten"):
            export(run_with_adapter, tmp_path / name, kind)
    assert [place.read_text() for place in (tmp_path / "mine").iterdir()] == ["mine"]
    assert not (tmp_path / "nowhere").exists()


def test_a_disk_that_is_full_is_the_users_to_fix(run_dir, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("proxtune.export.folder_copy.replace_folder", full)
    with pytest.raises(UserError, match=r"No space left on device\); free disk space"):
        export(run_dir, tmp_path / "out")
    assert [place.name for place in tmp_path.iterdir()] == ["run"]


def test_another_format_and_a_folder_that_is_no_run_are_refused(run_dir, tmp_path):
    with pytest.raises(UserError, match="choose one of safetensors, adapter, gguf"):
        export(run_dir, tmp_path / "out", "pickle")
    with pytest.raises(UserError, match="not a finished run"):
        export(tmp_path, tmp_path / "out")
