"""Folders that somebody made to do harm: refused with one line, in bounded memory, and nothing in them is run."""

import contextlib
import json
import os
import pickle
import resource
import shutil
from pathlib import Path

import pytest

import proxtune.pipeline.supervisor
from proxtune.checkpoint.snapshot import open_snapshot, snapshots
from proxtune.config.plan import Plan
from proxtune.config.recipe import Recipe
from proxtune.errors import Interrupted, UserError
from proxtune.models.source import check_folder, find_model
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.pipeline.supervisor import resumable_recipe, resume
from proxtune.storage.run_folder import write_recipe
from proxtune.storage.safetensors_header import BadTensors
from support.commands import assert_refused, proxtune_in_a_process
from support.trainings import prepared_model, run_training, stopping_after

FULL = Plan("full", "fp32", 8, 8, 32, False, "adamw", 1e-3, 3.0, 6, 0)


class Trap:
    """What a pickle may do when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def hostile(tiny_model, tmp_path) -> Path:
    """A copy of the tiny model, to be spoilt."""
    return Path(shutil.copytree(tiny_model, tmp_path / "models" / "snapshots" / "one"))


def set_config(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def pickled(folder, trap):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(trap)))


def renamed_pickle(folder, trap):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap(trap)))


def link_out(folder, trap):
    trap.with_name("secret.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(trap.with_name("secret.safetensors"))


def config_link(folder, trap):
    trap.with_name("secret.json").write_bytes((folder / "config.json").read_bytes())
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(trap.with_name("secret.json"))


def index_out(folder, trap):
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../../../secret.safetensors"}})
    )


def adapter(folder, trap):
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/etc", "peft_type": "LORA"}))


def million(folder, trap):
    one = b'"t":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
    with (folder / "model.safetensors").open("wb") as file:  # piece by piece: this process is to stay small
        file.write((len(one) * 10**6 + 1).to_bytes(8, "little") + b"{")
        for _ in range(1000):
            file.write(one * 1000)


def huge_config(folder, trap):
    (folder / "config.json").write_text('{"model_type": "bert", "a": "' + "x" * 5_000_000 + '"}')


def deep_config(folder, trap):
    (folder / "config.json").write_text('{"a":' * 100_000)


SPOILT = {
    "a pickle": (pickled, "never loaded"),
    "a pickle that is called safetensors": (renamed_pickle, "safetensors"),
    "weights that are a link out": (link_out, "out of its folder"),
    "a config that is a link out": (config_link, "out of its folder"),
    "an index that leads out": (index_out, "there is no such file"),
    "an adapter that names another model": (adapter, "adapter"),
    "a million tensors": (million, "header of"),
    "a config of five megabytes": (huge_config, "more than any such file"),
    "a config without a bottom": (deep_config, "unreadable config.json"),
    "a billion layers": (lambda folder, trap: set_config(folder, num_hidden_layers=10**9), "num_hidden_layers"),
    "a billion labels": (lambda folder, trap: set_config(folder, num_labels=10**9), "num_labels"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_model_folder_that_was_made_to_do_harm_is_refused(hostile, tmp_path, name):
    spoil, words = SPOILT[name]
    spoil(hostile, tmp_path / "trap")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=words) as caught:
        find_model(str(hostile))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 200_000_000
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "trap").exists()


def test_code_that_a_model_brings_is_not_run(hostile, tmp_path, tiny_reviews):
    trap = tmp_path / "trap"
    for name in ("configuration_x", "modeling_x", "tokenization_x"):
        (hostile / f"{name}.py").write_text(f"import os; os.mkdir({str(trap)!r})\nclass X: pass\n")
    auto = {"AutoConfig": "configuration_x.X", "AutoModelForSequenceClassification": "modeling_x.X"}
    set_config(hostile, model_type="x-of-ours", auto_map=auto)
    (hostile / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "X", "auto_map": {"AutoTokenizer": ["tokenization_x.X", None]}})
    )
    done = proxtune_in_a_process("plan", str(tiny_reviews), "--model", str(hostile))
    assert_refused(done.returncode, done.stderr, "brings code of its own, which is never run")
    from proxtune.models.loading import classifier_config

    for read in (load_tokenizer, lambda folder: classifier_config(folder, ["a", "b"], None, 8)):
        with contextlib.suppress(UserError):
            read(hostile)
    assert not trap.exists()


def test_the_hub_s_own_links_are_followed(tiny_model, tmp_path):
    """The hub's cache has links from snapshots/REVISION to blobs/ beside it."""
    folder, blobs = tmp_path / "models--a" / "snapshots" / "one", tmp_path / "models--a" / "blobs"
    folder.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(tiny_model.iterdir()):
        (blobs / str(number)).write_bytes(file.read_bytes())
        (folder / file.name).symlink_to(Path("..") / ".." / "blobs" / str(number))
    check_folder(folder, "a model of the hub")


@pytest.fixture
def begun(tmp_path, tiny_model, rows, tiny_reviews) -> Path:
    """A run folder with a journal and a snapshot, to be spoilt."""
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        run_training(folder, tiny_model, rows, FULL, interrupted=stopping_after(3))
    recipe = Recipe(data=str(tiny_reviews), out=str(folder), model=str(tiny_model), task="classify")
    write_recipe(recipe, folder / "recipe.toml")
    return folder


@pytest.mark.parametrize("name", ["recipe.toml", "journal.bin", "snapshots", "model", "learned.json", "head.npz"])
def test_a_link_out_of_a_run_folder_is_not_followed(begun, tmp_path, name):
    place, outside = begun / name, tmp_path / "elsewhere"
    if place.exists():
        place.rename(outside)
    else:
        outside.write_text("{}")
    place.symlink_to(outside)
    with pytest.raises(UserError, match="out of its folder"):
        resumable_recipe(begun)


RECIPES = {
    "no TOML": "a = [",
    "unknown words": 'data = "a"\nout = "b"\ncode = "import os"\n',
    "no data": 'out = "b"\n',
    "a budget that is a list": 'data = "a"\nout = "b"\nbudget = [1]\n',
    "six megabytes": 'data = "' + "a" * 6_000_000 + '"\n',
    "without a bottom": "a = " + "[" * 50_000,
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_that_no_proxtune_wrote_is_refused(begun, name):
    (begun / "recipe.toml").write_text(RECIPES[name])
    with pytest.raises(UserError) as caught:
        resume(begun)
    assert "\n" not in str(caught.value)


def test_a_journal_or_a_recipe_that_was_tampered_with_ends_in_one_line(begun):
    for name, words in (("journal.bin", "journal.bin"), ("recipe.toml", "recipe")):
        shutil.copytree(begun, begun.with_name(name))
        path = begun.with_name(name) / name
        path.write_bytes(b"\x00" + path.read_bytes()[1:])
        done = proxtune_in_a_process("resume", str(begun.with_name(name)))
        assert_refused(done.returncode, done.stderr, words)


def test_a_snapshot_that_is_a_pickle_is_not_read(begun, tiny_model, tmp_path):
    (path,) = snapshots(begun)
    path.write_bytes(pickle.dumps(Trap(tmp_path / "trap")))
    with pytest.raises(BadTensors):
        open_snapshot(path, prepared_model(tiny_model, FULL))
    assert not (tmp_path / "trap").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="not a run"):
        proxtune.pipeline.supervisor.resume(tmp_path)
    with pytest.raises(UserError, match="not a run"):
        proxtune.pipeline.supervisor.resume(tmp_path / "nothing")
