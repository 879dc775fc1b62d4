"""The trial: what real rows show of a model before anything is planned."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from proxtune.config.recipe import Knobs, Recipe
from proxtune.errors import UserError
from proxtune.runtime import trial
from proxtune.runtime.trial import TRIAL, load_that_computes, try_model, with_trial
from proxtune.tasks.base import TaskData, TaskTraits


class Toy(torch.nn.Module):
    """Classifies by the mean of its embeddings; `overflows` in bf16 as a mask of the largest fp32 number does.

    With `scaled` something follows its last layer.
    """

    def __init__(self, overflows: bool = False, sees_padding: bool = False, scaled: float = 1.0) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_labels=2)
        self.table, self.last = torch.nn.Embedding(1000, 2), torch.nn.Linear(2, 2)
        self.overflows, self.sees_padding, self.scaled = overflows, sees_padding, scaled

    def forward(self, input_ids, attention_mask):
        if self.overflows and torch.is_autocast_enabled("cpu"):
            raise RuntimeError("value cannot be converted to type at::BFloat16 without overflow")
        weights = torch.ones_like(attention_mask) if self.sees_padding else attention_mask
        hidden = (self.table(input_ids) * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
        return SimpleNamespace(logits=self.last(hidden) * self.scaled)


def session_of(folder, rows, knobs=None):
    """As much of a session as a trial asks for."""
    config = SimpleNamespace(_attn_implementation="eager", pad_token_id=0)
    data = TaskData(split=None, tokenizer=None, config=config, train=rows, validation=rows, max_length=32)
    return trial.Session(
        recipe=Recipe(data="", out="", knobs=knobs or Knobs()), folder=folder, source=None,
        task=SimpleNamespace(traits=TaskTraits()),
        data=data, device=None, clock=None, governor=None, phases=None, emit=None,
    )  # fmt: skip


def test_a_model_that_computes_in_both_is_planned_in_both(tmp_path, rows):
    found = try_model(Toy(), session_of(tmp_path, rows), ["bf16", "fp32"], "fp32", True)
    assert found.dtypes == ("bf16", "fp32")
    assert (found.pads, found.batches, found.notes) == (True, True, ())


def test_what_loading_showed_is_told(tmp_path, rows):
    model, session = Toy(), session_of(tmp_path, rows)
    model.loading_notes = ("the files lack a layer",)
    assert try_model(model, session, ["fp32"], "fp32", True).notes == ("the files lack a layer",)
    assert with_trial(session).data.notes == ("the files lack a layer",)


@pytest.mark.parametrize("gradients", [True, False])
def test_bf16_that_overflows_leaves_fp32_and_is_told(tmp_path, rows, gradients):
    session = session_of(tmp_path, rows)
    found = try_model(Toy(overflows=True), session, ["bf16"], "fp32", gradients)
    assert found.dtypes == ("fp32",)
    assert "computes in fp32" in found.notes[0]
    assert with_trial(session).data.notes == found.notes


def test_bf16_that_was_asked_for_is_refused_where_it_overflows(tmp_path, rows):
    with pytest.raises(UserError, match="does not compute in bf16"):
        try_model(Toy(overflows=True), session_of(tmp_path, rows, Knobs(dtype="bf16")), ["bf16"], "fp32", True)


def test_a_model_that_sees_padding_gets_none_and_no_head_that_is_fitted_apart(tmp_path, rows):
    session = session_of(tmp_path, rows)
    assert with_trial(session) is session
    found = try_model(Toy(sees_padding=True), session, ["fp32"], "fp32", True)
    assert not found.pads
    after = with_trial(session)
    assert not after.data.pads
    assert after.traits.needs_gradients
    assert not session.traits.needs_gradients


def test_a_model_whose_last_layer_is_not_the_last_word_gets_no_head_that_is_fitted_apart(tmp_path, rows):
    session = session_of(tmp_path, rows)
    assert try_model(Toy(), session, ["fp32"], "fp32", True).fits_head
    assert not with_trial(session).traits.needs_gradients
    found = try_model(Toy(scaled=2.0), session, ["fp32"], "fp32", True)
    assert not found.fits_head
    assert "changes its answers" in found.notes[0]
    assert with_trial(session).traits.needs_gradients


def test_a_model_that_mixes_rows_is_told_of_and_answers_one_at_a_time(tmp_path, rows):
    asked = []

    def batches(model, data, pad_id):
        asked.append(len(data))
        return False

    session = session_of(tmp_path, replace(rows, objective=replace(rows.objective, batches=batches)))
    found = try_model(Toy(), session, ["fp32"], "fp32", True)
    assert asked == [len(rows)], "it may choose among all rows"
    assert not found.batches
    after = with_trial(session)
    assert (after.data.pads, after.data.batches) == (True, False)
    assert "answers one at a time" in after.data.notes[0]


def test_a_trial_of_an_earlier_version_lets_rows_be_answered_together(tmp_path, rows):
    session = session_of(tmp_path, rows)
    try_model(Toy(), session, ["fp32"], "fp32", True)
    kept = json.loads((tmp_path / TRIAL).read_text())
    del kept["batches"]
    (tmp_path / TRIAL).write_text(json.dumps(kept))
    assert with_trial(session).data.batches


def test_a_file_that_is_none_changes_nothing(tmp_path, rows):
    session = session_of(tmp_path, rows)
    (tmp_path / TRIAL).write_text(json.dumps({"pads": True}))
    assert with_trial(session) is session


@pytest.mark.parametrize(("usual", "works"), [("eager", "sdpa"), ("sdpa", "eager")])
def test_where_one_attention_fails_the_other_is_tried(usual, works):
    config = SimpleNamespace(_attn_implementation=usual)

    def passes(model):
        if config._attn_implementation != works:
            raise RuntimeError("shapes differ")

    load_that_computes(lambda: SimpleNamespace(config=config), passes, config)
    assert config._attn_implementation == works


def test_where_both_fail_the_first_error_is_told():
    config = SimpleNamespace(_attn_implementation="eager")

    def passes(model):
        raise RuntimeError(f"no {config._attn_implementation}")

    with pytest.raises(RuntimeError, match="no eager"):
        load_that_computes(lambda: SimpleNamespace(config=config), passes, config)
    assert config._attn_implementation == "eager"


def test_slopes_are_tried_and_leave_nothing_behind(tmp_path, rows):
    model = Toy().requires_grad_(False)
    try_model(model, session_of(tmp_path, rows), ["bf16"], "fp32", True)
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())
    assert replace(trial.Trial(attention="eager", dtypes=("fp32",)), pads=False).notes == ()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_damaged_weights_are_called_so_before_anything_else_is_tried(tmp_path, rows, number):
    session, model = session_of(tmp_path, rows), Toy()
    split = SimpleNamespace(train=SimpleNamespace(source="a.csv", lines=list(range(len(rows)))))
    session = replace(session, data=replace(session.data, split=split))
    with torch.no_grad():
        model.last.bias.fill_(number)
    with pytest.raises(UserError, match=r"a.csv line \d+ is no number; the model's weights are damaged"):
        try_model(model, session, ["fp32"], "fp32", gradients=False)
