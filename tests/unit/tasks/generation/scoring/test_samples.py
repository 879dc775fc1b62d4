"""What is said of answers before and after: scores beside the baselines', and rows to read from the worst to the best."""

import pytest

from proxtune.config.recipe import Recipe
from proxtune.data.examples import Message, Pairs
from proxtune.tasks.base import BaselineRequest
from proxtune.tasks.generation.scoring.metrics import each_text
from proxtune.tasks.generation.scoring.samples import compare_answers
from proxtune.tasks.registry import find_task

ASKED = [f"word{i} red green blue" for i in range(40)]
PAIRS = Pairs([(Message("user", text),) for text in ASKED], ASKED, "f", list(range(10, 50)), ("source", "target"))
# the answer to row i has i % 5 of four words right
ANSWERS = [" ".join(text.split()[: i % 5]) for i, text in enumerate(ASKED)]


def test_rows_to_read_go_from_the_worst_to_the_best_and_the_worst_are_apart():
    found = compare_answers("translate", PAIRS, PAIRS, {"answers": ANSWERS, "metrics": {"loss": 1.0}}, None)
    each = each_text("translate", ANSWERS, ASKED)
    told = [row["score"] for row in found["samples"]]
    assert told == sorted(told)
    assert (told[0], told[-1]) == (min(each), max(each))
    assert len(set(told)) > 2
    assert [row["score"] for row in found["worst"]] == sorted(each)[:8]
    for row in [*found["samples"], *found["worst"]]:
        i = row["line"] - 10
        assert (row["asked"], row["reference"], row["after"], row["score"]) == (ASKED[i], ASKED[i], ANSWERS[i], each[i])
        assert row["before"] is None
    assert found["main"] == "chrf"
    assert "untouched" not in found["baselines"]


def test_the_base_models_answers_stand_beside():
    before = {"answers": ASKED, "metrics": {"loss": 2.0, "perplexity": 7.4}, "seconds": 3.0}
    found = compare_answers("summarize", PAIRS, PAIRS, {"answers": ANSWERS, "metrics": {"loss": 1.0}}, before)
    assert found["baselines"]["untouched"]["rougeL"] == pytest.approx(1.0)
    assert found["baselines"]["untouched"]["loss"] == 2.0
    assert found["samples"][0]["before"] == found["samples"][0]["asked"]
    assert found["metrics"]["rougeL"] < 1


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize(("task", "takes_none"), [("translate", "copy_source"), ("instruct", "copy_prompt")])
def test_the_rows_of_another_file_are_scored_also_where_those_learned_from_are_gone(tmp_path, task, takes_none, gone):
    rows = "".join(f'{{"source": "{text}", "target": "{text}"}}\n' for text in ASKED)
    (tmp_path / "train.jsonl").write_text(rows)
    (tmp_path / "test.jsonl").write_text(rows)
    recipe = Recipe(data=str(tmp_path / "train.jsonl"), out="", task=task, text_column="source", label_column="target")
    if gone:
        (tmp_path / "train.jsonl").unlink()
    after = {"answers": ANSWERS, "metrics": {"loss": 1.0}}
    asked = BaselineRequest(file=str(tmp_path / "test.jsonl"), results=after, base_results=after)
    found = find_task(task).baselines(recipe, asked)
    learned = {"commonest"} if task == "instruct" and not gone else set()
    assert set(found["baselines"]) == {"untouched", takes_none} | learned
    assert ("note" in found) == (task == "instruct" and gone)
