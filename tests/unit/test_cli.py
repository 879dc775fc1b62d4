"""The command line: what options say as a recipe, what is printed of predictions, and what a run ends with."""

import json
import os
import sys
import time
from dataclasses import fields, replace

import pytest
from typer.testing import CliRunner

import proxtune.pipeline.queries
import proxtune.pipeline.supervisor
from proxtune import cli
from proxtune.config.budget import Budget
from proxtune.config.recipe import Knobs, Recipe
from proxtune.errors import Interrupted, UserError
from proxtune.pipeline.process import StageFailed
from proxtune.pipeline.sitting import Infeasible
from proxtune.storage.events import AnswerPiece, Notice, Prediction

OPTIONS = [
    "--memory", "700MB", "--size", "50MB", "--trainable", "1M", "--time", "10min", "--compute", "2PFLOP", "--task", "classify",
    "--model", "minilm", "--validation", "b.csv", "--text-column", "text", "--label-column", "label", "--method", "lora",
    "--seed", "3", "--device", "cpu", "--bad-rows", "skip", "--instruction", "", "--micro-batch", "4", "--batch", "8",
    "--max-length", "64", "--dtype", "bf16", "--no-checkpointing", "--optimizer", "adafactor", "--learning-rate", "0.01",
    "--epochs", "2", "--rank", "4", "--last-layers", "1", "--base-dtype", "int8", "--no-stream",
]  # fmt: skip
SAID = Recipe(
    data="a.csv", out="", task="classify", model="minilm", method="lora", seed=3, validation="b.csv", text_column="text",
    label_column="label", device="cpu", bad_rows="skip", instruction="",
    budget=Budget(memory="700MB", size="50MB", trainable="1M", time="10min", compute="2PFLOP"),
    knobs=Knobs(
        micro_batch=4, batch=8, max_length=64, dtype="bf16", checkpointing=False, optimizer="adafactor", learning_rate=0.01,
        epochs=2.0, rank=4, last_layers=1, base_dtype="int8", stream=False,
    ),
)  # fmt: skip


@pytest.fixture
def typed(monkeypatch, capsys):
    """`typed(*words)`: exit code, stdout and stderr of the command line."""

    def type_them(*words):
        monkeypatch.setattr(sys, "argv", ["proxtune", *words])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return type_them


@pytest.fixture
def recipes(monkeypatch):
    """The recipes that were to be planned or trained."""
    given = []
    found = {"table": [], "status": "planned"}
    monkeypatch.setattr(proxtune.pipeline.supervisor, "plan", lambda recipe, listen: given.append(recipe) or found)
    monkeypatch.setattr(
        proxtune.pipeline.supervisor,
        "train",
        lambda recipe, listen, started: given.append(recipe) or {"status": "done"},
    )
    monkeypatch.setattr("proxtune.console.show_plan", lambda found: None)
    monkeypatch.setattr("proxtune.console.show_result", lambda result, out: None)
    return given


def test_every_option_is_in_the_recipe(typed, recipes):
    assert typed("plan", "a.csv", *OPTIONS)[0] == 0
    assert typed("train", "a.csv", *OPTIONS, "--out", "run", "--keep-adapter")[0] == 0
    planned, trained = recipes
    assert planned == SAID
    assert trained == replace(SAID, out="run", knobs=replace(SAID.knobs, keep_adapter=True))


def test_what_is_not_said_is_what_a_recipe_begins_with(typed, recipes):
    typed("train", "a.csv", "--out", "run")
    assert recipes == [Recipe(data="a.csv", out="run", model="")]


def test_every_field_of_a_recipe_can_be_said():
    names = {own.name for kind in (Recipe, Budget, Knobs) for own in fields(kind)} - {"budget", "knobs", "time"}
    help_text = CliRunner().invoke(cli.app, ["train", "--help"], env={"COLUMNS": "200"}).output
    missing = [name for name in names - {"data"} if f"--{name.replace('_', '-')}" not in help_text]
    assert missing == []


def test_with_json_the_last_line_is_the_result(typed, recipes):
    code, out, _ = typed("train", "a.csv", "--out", "run", "--json")
    assert (code, json.loads(out.splitlines()[-1])) == (0, {"status": "done"})


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (UserError("give more --memory"), 2, "refused"), (Interrupted("stopped", 15), 143, "interrupted"),
        (Infeasible({"message": "nothing fits", "shortfall_bytes": 5}), 2, "infeasible"), (Interrupted(), 130, "interrupted"),
        (StageFailed("the stage 'fit' was killed by SIGKILL"), 1, "failed"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, BaseException) else "",
)  # fmt: skip
def test_what_is_raised_is_a_line_a_code_and_an_object(typed, monkeypatch, error, code, status):
    def train(*given):
        raise error

    monkeypatch.setattr(proxtune.pipeline.supervisor, "train", train)
    got, out, err = typed("train", "a.csv", "--out", "run", "--json")
    words = str(error) or "interrupted"
    assert (got, err) == (code, f"proxtune: {words}\n")
    told = json.loads(out)
    assert (told["status"], told["message"]) == (status, words)
    assert told.get("shortfall_bytes") == (5 if status == "infeasible" else None)


def test_a_fault_of_ours_is_not_hidden(monkeypatch, recipes):
    monkeypatch.setattr(sys, "argv", ["proxtune", "plan", "a.csv"])
    monkeypatch.setattr(proxtune.pipeline.supervisor, "plan", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main()


@pytest.fixture
def predicted(monkeypatch):
    """The events of a prediction, as a test gives them."""
    events = []

    def predictions(folder, *, texts, file, listen, keep):
        for event in events:
            if listen is not None:
                listen(event)
        return [event for event in events if isinstance(event, Prediction)]

    monkeypatch.setattr(proxtune.pipeline.queries, "predictions", predictions)
    return events


def test_a_label_is_printed_with_its_probability_and_its_text_in_a_line(typed, predicted):
    predicted[:] = [Prediction(text="a fine\n  film", label="good", probabilities=(0.25, 0.75))]
    assert typed("predict", "run", "a fine film") == (0, "good\t0.750\ta fine film\n", "")


def test_a_row_without_a_text_keeps_its_line_and_notices_go_to_stderr(typed, predicted):
    said = Prediction(text="b", label="good", probabilities=(0.25, 0.75))
    predicted[:] = [Notice(words="text from column 'v2'"), Prediction(text="", label=""), said]
    assert typed("predict", "run", "--file", "a.csv") == (
        0,
        "\t\t\ngood\t0.750\tb\n",
        "text from column 'v2'\n",
    )
    code, out, told = typed("predict", "run", "--file", "a.csv", "--json")
    assert (code, told) == (0, "text from column 'v2'\n")
    assert json.loads(out)["predictions"][0] == {"text": "", "label": ""}
    predicted[:] = [Prediction(text="", answer=""), Prediction(text="b", answer="one")]
    assert typed("predict", "run", "--file", "a.csv")[1] == "\none\n"


def test_an_answer_is_printed_once_whether_it_came_in_pieces_or_not(typed, predicted):
    answer = Prediction(text="a", answer="one two")
    predicted[:] = [AnswerPiece(text="one "), AnswerPiece(text="two"), answer]
    assert typed("predict", "run", "a")[1] == "one two\n"
    predicted[:] = [AnswerPiece(text="one "), answer]  # the last piece is the rest of it
    assert typed("predict", "run", "a")[1] == "one two\n"
    predicted[:] = [answer, Prediction(text="b", answer="of\ntwo lines"), answer]
    assert typed("predict", "run", "a", "b", "c")[1] == "one two\nof\ntwo lines\n\none two\n"


def test_with_json_predictions_come_as_one_object(typed, predicted):
    predicted[:] = [
        Prediction(text="a", label="good", probabilities=(0.25, 0.75)), AnswerPiece(text="not printed"),
        Prediction(text="b", answer="one"),
    ]  # fmt: skip
    code, out, _ = typed("predict", "run", "a", "b", "--json")
    assert code == 0
    assert json.loads(out) == {
        "predictions": [{"text": "a", "label": "good", "probabilities": [0.25, 0.75]}, {"text": "b", "answer": "one"}]
    }


def test_nothing_to_predict_is_refused(typed, predicted):
    code, _, err = typed("predict", "run")
    assert code == 2
    assert "nothing to predict" in err


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A model in the cache: its folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "proxtune" / "weights" / "small-bf16-0123"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"0" * 5000)
    (folder / ".source").write_text("/models/[small] in bf16")
    os.utime(folder, (1_700_000_000, 1_700_000_000))
    return folder


def test_the_cache_is_listed(typed, cached):
    code, out, err = typed("cache")
    assert (code, out) == (0, "")
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(1_700_000_000))
    assert err.splitlines() == [
        f"small-bf16-0123: 5 kB, last used {used}", "  made from /models/[small] in bf16", f"  {cached}", "5 kB in all"
    ]  # fmt: skip
    model = {
        "name": "small-bf16-0123", "path": str(cached), "bytes": 5023, "last_used_seconds": 1_700_000_000.0,
        "source": "/models/[small] in bf16",
    }  # fmt: skip
    _, out, _ = typed("cache", "--json")
    assert json.loads(out) == {"models": [model], "bytes": 5023, "freed_bytes": 0}


def test_the_cache_is_cleared_and_what_was_removed_is_said(typed, cached):
    assert typed("cache", "--clear") == (0, "", "removed 5 kB\n")
    assert not cached.exists()
    assert typed("cache") == (0, "", "the cache is empty\n")
    code, out, err = typed("cache", "--clear", "--json")
    assert (code, err) == (0, "removed 0 B\n")
    assert json.loads(out) == {"models": [], "bytes": 0, "freed_bytes": 0}


def test_the_methods_tasks_devices_and_formats_that_are_built_in_are_named_in_the_help():
    train = CliRunner().invoke(cli.app, ["train", "--help"], env={"COLUMNS": "200"}).output
    export = CliRunner().invoke(cli.app, ["export", "--help"], env={"COLUMNS": "200"}).output
    assert "auto, probe, nno, lora, layers or full" in train
    assert "classify, summarize, translate or instruct" in train
    assert "auto, cpu or cuda" in train
    assert "safetensors" in export
    assert "gguf" in export
