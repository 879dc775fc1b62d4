"""What a user reads on stderr: lines and tables that are right for labels and for texts."""

import io

import pytest
from rich.console import Console

from proxtune import console
from proxtune.config.budget import Budget
from proxtune.console import ProgressDisplay, event_lines, show_check, show_evaluation, show_plan, show_result
from proxtune.storage.events import (
    AnswerPiece,
    Continued,
    DataRead,
    DryRunDone,
    Event,
    Notice,
    Phase,
    PlanChosen,
    Resumed,
    RowsLeftOut,
    RunInterrupted,
    ScheduleChange,
    SizePhaseBegun,
    StepDown,
    StepEvent,
    StepRejected,
    Validation,
)

TEXTS = {
    "rows": 250, "truncated_rows": 7, "main": "rougeL",
    "metrics": {"loss": 2.5019, "perplexity": 12.21, "rouge1": 0.3702, "rouge2": 0.1401, "rougeL": 0.3011},
    "baselines": {
        "untouched": {"loss": 3.2, "perplexity": 24.5, "rouge1": 0.2433, "rouge2": 0.0601, "rougeL": 0.1788},
        "first_sentence": {"rouge1": 0.2201, "rouge2": 0.0702, "rougeL": 0.1875},
    },
}  # fmt: skip


def test_an_evaluation_of_texts_is_a_table_in_points(capsys):
    show_evaluation(TEXTS, "rows[red].jsonl")
    out, err = capsys.readouterr()
    assert out == ""
    lines = [" ".join(line.split()) for line in err.splitlines()]
    assert lines == [
        "rows[red].jsonl: 250 rows",
        "ROUGE-L ROUGE-1 ROUGE-2 loss perplexity",
        "this model 30.1 37.0 14.0 2.502 12.2",
        "the base model 17.9 24.3 6.0 3.200 24.5",
        "the first sentence 18.8 22.0 7.0 – –",
        "7 texts were too long and were cut",
    ]


def test_an_evaluation_of_labels_is_a_line_for_each(capsys):
    found = {"rows": 10, "metrics": {"accuracy": 0.9, "loss": 0.25}, "baselines": {"tfidf": {"accuracy": 0.8}}}
    show_evaluation(found, "a.csv")
    assert capsys.readouterr().err.splitlines() == [
        "a.csv: 10 rows, accuracy 0.9000, loss 0.2500",
        "  tfidf: accuracy 0.8000",
    ]


FACTS = {"train_rows": 9, "validation_rows": 1, "labels": [], "notes": ["cut"]}
PLAN = {
    "name": "full · fp32 · 8/8", "steps": 6, "epochs": 2.0, "trainable": 22_000_000,
    "cost": {"memory_bytes": {"load": 10**8, "train": 7 * 10**8}, "seconds": 95.0},
}  # fmt: skip
TRIED = {"plan": "full", "allocator": "fast", "seconds": 2.0, "memory_bytes": {}, "terms": {}}
STEP = StepEvent(step=3, steps=9, seconds=1.0, loss=0.5, learning_rate=1e-3, memory_bytes=8, examples_seen=24)


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (Phase(phase="train", seconds=1.25), ["   1.2 s  training"]),
        (Phase(phase="untouched", seconds=1.0), ["   1.0 s  scoring the base model"]),
        (Phase(phase="another", seconds=1.0), ["   1.0 s  another"]),
        (DataRead(facts=FACTS), ["          9 training rows, 1 validation rows", "          cut"]),
        (
            DataRead(facts=FACTS | {"labels": ["a", "b"], "notes": []}),
            ["          9 training rows, 1 validation rows; labels: a, b"],
        ),
        (DryRunDone(refused="too large", **TRIED), ["   2.0 s  tried full: too large"]),
        (DryRunDone(refused="", **TRIED), []),
        (
            PlanChosen(chosen=PLAN, table=()),
            ["          plan: full · fp32 · 8/8, 6 steps (2.0 epochs), 22,000,000 trained parameters, promised 700 MB and "
             "1 min 35 s"],
        ),
        (STEP, []),
        (
            Validation(step=5, seconds=1.0, metrics={"loss": 2.5, "perplexity": 12.18}, best=True),
            ["   1.0 s  step 5: loss 2.500, perplexity 12.2  best so far"],
        ),
        (
            Validation(step=5, seconds=1.0, metrics={"loss": 0.5, "accuracy": 0.75}, best=False),
            ["   1.0 s  step 5: accuracy 0.750, loss 0.500"],
        ),
        (
            SizePhaseBegun(
                step=5, seconds=1.0, metrics={"loss": 0.5, "accuracy": 0.75}, allocated_bytes=9 * 10**6, cost=0.1, multiplier=0.1
            ),
            ["   1.0 s  step 5: accuracy 0.750, loss 0.500 without the size limit; from now on in 9 MB"],
        ),
        (
            StepDown(at_step=2, seconds=1.0, before="micro-batch 8", after="micro-batch 4", why="memory"),
            ["   1.0 s  step-down: micro-batch 8 → micro-batch 4 (memory)"],
        ),
        (ScheduleChange(step=3, seconds=1.0, before=9, after=7), ["   1.0 s  slower than planned: 9 → 7 steps"]),
        (ScheduleChange(step=3, seconds=1.0, before=7, after=9), ["   1.0 s  faster than planned: 7 → 9 steps"]),
        (Notice(words="no room"), ["          no room"]),
        (
            Resumed(seconds=95.0, after="SIGTERM", phase="train", last_step=6),
            ["          resuming a run that was interrupted by SIGTERM after 1 min 35 s"],
        ),
        (
            Resumed(seconds=95.0, after=None, phase="train", last_step=6),
            ["          resuming a run that was cut off after 1 min 35 s"],
        ),
        (
            Continued(step=6, snapshot=6, notes=("the rows changed",)),
            ["          continuing from step 6; the rows changed"],
        ),
        (
            StepRejected(step=6, seconds=2.0, rows=("a.csv line 3",)),
            ["          step 6: a loss or gradient was not finite, so nothing was updated; look at a.csv line 3"],
        ),
        (
            RowsLeftOut(step=6, seconds=2.0, rows=tuple(f"a.csv line {line}" for line in range(2, 9))),
            [
                "          step 6: too large for the memory even alone, left out from now on: a.csv line 2, a.csv line 3, "
                "a.csv line 4, a.csv line 5, a.csv line 6 and 2 more"
            ],
        ),
        (AnswerPiece(text="one"), []),
        (RunInterrupted(by="SIGTERM", seconds=5.0), []),
    ],
    ids=lambda each: each.kind if isinstance(each, Event) else "",
)  # fmt: skip
def test_an_event_is_told(event, lines):
    assert event_lines(event) == lines


def test_what_is_told_is_shown_as_it_is_and_steps_are_not_where_there_is_no_terminal(capsys):
    with ProgressDisplay(Budget()) as progress:
        progress.on_event(Notice(words="look at [red]rows[/red]"))
        progress.on_event(STEP)
    assert capsys.readouterr().err == "          look at [red]rows[/red]\n"


def test_on_a_terminal_a_step_moves_the_bar(monkeypatch):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=160, legacy_windows=False)
    monkeypatch.setattr(console, "_console", terminal)
    with ProgressDisplay(Budget(memory="1GB", time="1min")) as progress:
        progress.on_event(STEP)
        (task,) = progress._bar.tasks
        assert (task.completed, task.total) == (3, 9)
        assert task.fields["words"] == "3/9 · loss 0.500 · 8 B of 1.00 GB · 59 s left"


def test_a_plan_table_says_what_was_chosen_and_why_the_rest_was_not(capsys):
    def row(status, reason):
        return {"plan": PLAN | {"expected": 0.95}, "status": status, "reason": reason}

    show_plan({"table": [row("chosen", ""), row("fits", "by an estimate"), row("refused", "too large")]})
    *_, chosen, fits, refused = capsys.readouterr().err.splitlines()
    assert chosen.split()[-1] == "chosen"
    assert "700 MB" in chosen
    assert fits.rstrip().endswith("by an estimate")
    assert refused.rstrip().endswith("too large")


@pytest.mark.parametrize(("labels", "learned"), [([], "⟦une maison</s>⟧"), (["une maison</s>"], "une maison</s>")])
def test_a_check_shows_a_row_with_all_its_tokens(capsys, labels, learned):
    show_check({
        "task": "translate",
        "model": {
            "architecture": "LlamaForCausalLM", "model_type": "llama", "parameters": 134_515_008, "blocks": 30,
            "head": "the language model's own", "attention": "eager", "row_seconds": 0.52, "loss": 2.5,
        },
        "tokenizer": {"class": "Llama", "vocabulary": 49_152, "special_tokens": {"eos_token": "</s>"}, "chat_template": True},
        "data": {"labels": labels, "max_length": 64},
        "row": {"name": "a.csv line 2", "tokens": 9, "input": "<s>[user] a house", "learned": "une maison</s>"},
    })  # fmt: skip
    said = capsys.readouterr().err
    assert "134,515,008 parameters in 30 blocks" in said
    assert "a.csv line 2, 9 tokens: <s>[user] a house" in said
    assert said.splitlines()[4].split(maxsplit=1) == ["learned", learned]
    assert said.splitlines()[-1] == "ok: this model can be trained with --task translate"


def test_a_result_is_its_verdict_what_it_took_and_where_it_is(capsys):
    result = {
        "verdict": "It is right on 80 % [of] the rows.", "measured": {"memory_bytes": {"train": 6 * 10**8}, "seconds": 30.0},
        "budget": {"memory": 7 * 10**8, "size": 1000}, "predicted": {"memory_bytes": {"train": 65 * 10**7}, "seconds": 40.0},
        "artifact_bytes": 990,
    }  # fmt: skip
    show_result(result, "runs/a")
    assert capsys.readouterr().err.splitlines() == [
        "It is right on 80 % [of] the rows.",
        "memory 600 MB (promised 650 MB, budget 700 MB), 30 s (promised 40 s)",
        "size 990 of 1,000 bytes",
        "model:  runs/a/model",
        "report: runs/a/report.html",
    ]
