"""safetensors: the model as it is, with its card."""

from proxtune.export.safetensors import FORMAT
from proxtune.run import open_run


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_export_is_the_model_with_its_card(run_dir, tmp_path):
    out = tmp_path / "exports" / "model"
    assert open_run(run_dir).export(out, FORMAT.name) == out
    assert contents(out) == contents(run_dir / "model")
    assert "README.md" in contents(out)
    assert [place.name for place in out.parent.iterdir()] == ["model"]


def test_transformers_loads_it(run_dir, tmp_path):
    from transformers import AutoModelForCausalLM

    FORMAT.write(run_dir / "model", tmp_path / "out")
    assert AutoModelForCausalLM.from_pretrained(str(tmp_path / "out"), use_safetensors=True).num_parameters() > 0
