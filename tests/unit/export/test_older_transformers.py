"""What older versions look for in config.json, beside what says the same today. (That they load it: tests/integration.)"""

import json

import pytest

from proxtune.export.older_transformers import write_for_older


def written(folder, config):
    config.save_pretrained(folder)
    before = json.loads((folder / "config.json").read_text())
    write_for_older(folder)
    after = json.loads((folder / "config.json").read_text())
    assert {name: after[name] for name in before} == before, "nothing is taken away"
    again = type(config).from_pretrained(folder)
    assert again.to_dict() == config.to_dict() | {
        "transformers_version": again.transformers_version,
        "_name_or_path": str(folder),
    } or (again.rope_parameters == config.rope_parameters), "today's version reads the same"
    return {name: value for name, value in after.items() if name not in before}


def test_the_base_of_rotary_positions_is_there_by_its_older_name(tmp_path):
    from transformers import LlamaConfig

    plain = LlamaConfig(rope_parameters={"rope_type": "default", "rope_theta": 100_000.0})
    assert written(tmp_path, plain) == {"rope_theta": 100_000.0}


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "rope_theta": 500_000.0, "factor": 2.0},
        {
            "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ],
)  # fmt: skip
def test_so_is_what_scales_them(tmp_path, rope):
    from transformers import LlamaConfig

    found = written(tmp_path, LlamaConfig(rope_parameters=dict(rope), max_position_embeddings=256))
    assert found["rope_theta"] == 500_000.0
    assert found["rope_scaling"] == {name: value for name, value in rope.items() if name != "rope_theta"}


def test_layers_of_two_kinds_have_two_bases(tmp_path):
    from transformers import Gemma3TextConfig, ModernBertConfig

    gemma = Gemma3TextConfig(num_hidden_layers=6)
    rope = gemma.rope_parameters
    assert written(tmp_path / "gemma", gemma) == {
        "rope_theta": rope["full_attention"]["rope_theta"],
        "rope_local_base_freq": rope["sliding_attention"]["rope_theta"],
    }
    assert written(tmp_path / "bert", ModernBertConfig()).keys() == {"global_rope_theta", "local_rope_theta"}


def test_a_share_of_the_width_is_named(tmp_path):
    from transformers import GPTNeoXConfig

    found = written(tmp_path, GPTNeoXConfig(hidden_size=32, num_attention_heads=2))
    assert found["partial_rotary_factor"] == 0.25
    assert found["rotary_pct"] == 0.25


def test_others_stay_as_they_are(tiny_model, tmp_path):
    path = tmp_path / "config.json"
    path.write_text((tiny_model / "config.json").read_text())
    before = path.read_text()
    write_for_older(tmp_path)
    assert path.read_text() == before
