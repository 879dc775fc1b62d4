"""adapter: what the method kept beside the model, or why there is none."""

import json

import pytest

from proxtune.errors import UserError
from proxtune.export.adapter import FORMAT
from proxtune.export.formats import export


def test_the_export_is_the_adapter_alone(run_with_adapter, tmp_path):
    assert export(run_with_adapter, tmp_path / "out", FORMAT.name)["bytes"] == 4
    assert sorted(place.name for place in (tmp_path / "out").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_a_run_that_kept_none_is_told_how(run_dir, tmp_path):
    with pytest.raises(UserError, match="kept no adapter; train again with --method lora --keep-adapter"):
        export(run_dir, tmp_path / "out", FORMAT.name)


@pytest.mark.parametrize("method", ["full", "gone", None])
def test_a_method_that_trains_none_is_named_with_those_that_do(run_dir, tmp_path, method):
    (run_dir / "result.json").write_text(json.dumps({"status": "done", "method": method}))
    with pytest.raises(UserError, match=f"method {method} trains none; train again with --method lora --keep-adapter"):
        export(run_dir, tmp_path / "out", FORMAT.name)
