"""Training: the same gradient however a batch is cut, smaller micro-batches when memory is refused, the best point kept."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import proxtune.training.gradient_step
import proxtune.training.optimizer
from proxtune.checkpoint.state import TrainingState
from proxtune.config.plan import Plan
from proxtune.data.dataset import Encoded
from proxtune.data.examples import Examples
from proxtune.errors import Interrupted
from proxtune.memory.allocator import c_library
from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor
from proxtune.memory.phases import Phases
from proxtune.methods.registry import find_method
from proxtune.models.loading import classifier_config, load_classifier, load_tokenizer
from proxtune.runtime.clock import Clock
from proxtune.tasks.classification.encoding import encode
from proxtune.tasks.classification.objective import LABELS
from proxtune.training.context import Training
from proxtune.training.gradient_step import gradient_of, step_down
from proxtune.training.optimizer import make_optimizer, update
from proxtune.training.schedule import reschedule
from proxtune.training.trainer import train
from support.kept import Unkept

LABELS = ["negative", "positive"]
PLAN = Plan("full", "fp32", 8, 8, 32, False, "adamw", 1e-3, 2.0, 6, 0)


def words_of(tiny_texts: list[str], folder: Path, rows: int = 24, max_length: int = 32) -> Encoded:
    texts = tiny_texts[:rows]
    labels = [LABELS[len(text) % 2] for text in texts]
    examples = Examples(texts, labels, "here", list(range(2, rows + 2)), "text", "label")
    return encode(examples, LABELS, load_tokenizer(folder), max_length)


def even_words() -> Encoded:
    """24 rows of 32 tokens: every micro-batch is as large as it may be."""
    ids = np.random.default_rng(0).integers(10, 90, 24 * 32).astype(np.int32)
    return Encoded(ids=ids, starts=np.arange(25) * 32, labels=np.arange(24) % 2, truncated=0, objective=LABELS)


def a_model(folder: Path, plan: Plan = PLAN):
    config = classifier_config(folder, LABELS, load_tokenizer(folder), plan.max_length)
    return find_method(plan.method).prepare(load_classifier(folder, config, 0), plan)


def gradients(model) -> np.ndarray:
    return np.concatenate([p.grad.flatten().numpy() for p in model.parameters() if p.grad is not None])


def weights(model) -> np.ndarray:
    return np.concatenate([p.detach().flatten().numpy() for p in model.parameters()])


@dataclass
class Held(Governor):
    """A governor that does as the test says when it is to hold."""

    on_hold: Callable[[], None] = lambda: None

    def hold(self) -> None:
        self.on_hold()


def go(
    model,
    plan: Plan,
    data: Encoded,
    save_best=lambda: None,
    on_hold=lambda: None,
    interrupted=lambda: False,
    seed=0,
    checkpointer=None,
    evaluations=3,
):
    """Run `train` to its end; returns its records and the governor."""
    governor = Held(None, ProcessMeter(), on_hold=on_hold)
    training = Training(
        model=model, train=data, validation=data, pad_id=model.config.pad_token_id, seed=seed,
        clock=Clock(time.monotonic(), None), ending_seconds=0.0, evaluations=evaluations, max_steps=plan.steps,
        governor=governor,
        phases=Phases(ProcessMeter(), 0), save_best=save_best, save_stopped=save_best, interrupted=interrupted,
        checkpointer=checkpointer or Unkept(),
    )  # fmt: skip
    return list(train(plan, training)), governor


def refuse_more_than(model, tokens: int, error: Exception) -> None:
    """Let the model's training passes fail as the system fails them: when too many tokens are computed at a time."""
    import torch

    forward = model.forward

    def limited(*args, **kwargs):
        if torch.is_grad_enabled() and kwargs["input_ids"].numel() > tokens:
            raise error
        return forward(*args, **kwargs)

    model.forward = limited


@pytest.mark.parametrize("micro_batch", [1, 3, 24])
def test_the_gradient_is_the_plain_one_however_the_batch_is_cut(tiny_folder, tiny_texts, micro_batch):
    import torch

    data, model = words_of(tiny_texts, tiny_folder), a_model(tiny_folder)
    loss = gradient_of(model, data, np.arange(24), replace(PLAN, micro_batch=micro_batch), model.config.pad_token_id)
    found = gradients(model)

    # the obvious way: row by row, no padding, the mean of the rows' losses
    model.zero_grad()
    losses = []
    for row in range(24):
        ids = torch.tensor(data.ids[None, data.starts[row] : data.starts[row + 1]], dtype=torch.long)
        logits = model(input_ids=ids).logits
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(data.labels[row : row + 1])))
    mean = torch.stack(losses).mean()
    mean.backward()
    assert loss == pytest.approx(mean.item(), rel=1e-5)
    np.testing.assert_allclose(found, gradients(model), rtol=1e-3, atol=1e-6)


def test_gradients_of_two_batches_add_up(tiny_model, tiny_texts):
    data, model = words_of(tiny_texts, tiny_model), a_model(tiny_model)
    pad = model.config.pad_token_id
    gradient_of(model, data, np.arange(24), PLAN, pad)
    once = gradients(model)
    gradient_of(model, data, np.arange(24), PLAN, pad)
    np.testing.assert_allclose(gradients(model), 2 * once, rtol=1e-3, atol=1e-6)


def test_checkpointing_changes_no_gradient(tiny_folder, tiny_texts):
    from proxtune.models.introspection import enable_checkpointing

    data, found = words_of(tiny_texts, tiny_folder), []
    for checkpointing in (False, True):
        model = a_model(tiny_folder).train()
        assert not checkpointing or enable_checkpointing(model)
        gradient_of(model, data, np.arange(8), PLAN, model.config.pad_token_id)
        found.append(gradients(model))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-6)


def test_steps_go_down_by_halves_then_to_checkpointing_then_to_a_heap_without_holes_then_not_at_all(tiny_folder):
    model, plan, seen = a_model(tiny_folder), replace(PLAN, micro_batch=8), []
    while (smaller := step_down(plan, model)) is not None:
        plan = smaller
        seen.append((plan.micro_batch, plan.checkpointing, plan.allocator))
    assert seen[:4] == [(4, False, "fast"), (2, False, "fast"), (1, False, "fast"), (1, True, "fast")]
    assert seen[4:] == ([(1, True, "tight")] if c_library() else [])
    assert plan.batch == PLAN.batch


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("could not create a primitive"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 100 bytes."),
    ],
    ids=["oneDNN", "python", "torch"],
)
def test_a_refusal_ends_with_the_weights_of_a_run_begun_smaller(tiny_model, error):
    data = even_words()
    refused, smaller = a_model(tiny_model), a_model(tiny_model)
    records, governor = go(refused, PLAN, data, on_hold=lambda: refuse_more_than(refused, 2 * 32, error))
    go(smaller, replace(PLAN, micro_batch=2), data)
    downs = [record for record in records if record["kind"] == "step_down"]
    assert [(down["from"], down["to"]) for down in downs] == [
        ("micro-batch 8", "micro-batch 4"),
        ("micro-batch 4", "micro-batch 2"),
    ]
    assert governor.step_downs == downs
    assert sum(record["kind"] == "step" for record in records) == PLAN.steps
    assert np.array_equal(weights(refused), weights(smaller))


def test_an_error_that_is_no_refusal_is_not_swallowed(tiny_model):
    model = a_model(tiny_model)
    error = RuntimeError("shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        go(model, PLAN, even_words(), on_hold=lambda: refuse_more_than(model, 0, error))


def test_when_not_even_one_row_fits_memory_is_the_error(tiny_model):
    model, kept = a_model(tiny_model), []
    with pytest.raises(MemoryError, match="one row does not fit"):
        go(model, PLAN, even_words(), lambda: kept.append(1), lambda: refuse_more_than(model, 0, MemoryError()))
    assert kept == []


def test_when_memory_runs_out_later_the_best_so_far_stands(tiny_model):
    model, kept = a_model(tiny_model), []

    def keep():
        kept.append(weights(model))
        refuse_more_than(model, 0, MemoryError())

    records, _ = go(model, PLAN, even_words(), keep)
    assert len(kept) == 1
    assert records[-1]["kind"] == "step_down"
    assert records[-1]["to"] == "the best weights so far"
    assert np.array_equal(weights(model), kept[0])


def test_an_interrupt_judges_and_keeps_the_best_first(tiny_model):
    model, events = a_model(tiny_model), []
    asked = iter([False, True])
    with pytest.raises(Interrupted, match=f"after 2 of {PLAN.steps} steps"):
        go(model, PLAN, even_words(), lambda: events.append("kept"), interrupted=lambda: next(asked))
    assert events == ["kept"]


def test_the_best_is_kept_each_time_it_is_beaten(tiny_model):
    model, kept = a_model(tiny_model), []
    records, _ = go(model, PLAN, even_words(), lambda: kept.append(1))
    judged = [record for record in records if record["kind"] == "validation"]
    assert judged[-1]["step"] == PLAN.steps
    assert sum(record["best"] for record in judged) == len(kept) >= 1


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(tiny_folder, tiny_texts):
    data = words_of(tiny_texts, tiny_folder)
    found = []
    for seed in (1, 1, 2):
        model = a_model(tiny_folder)
        go(model, PLAN, data, seed=seed)
        found.append(weights(model))
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_training_learns_what_can_be_learned(tiny_model):
    model = a_model(tiny_model)
    records, _ = go(model, replace(PLAN, steps=60, learning_rate=3e-3), even_words())
    losses = [record["loss"] for record in records if record["kind"] == "step"]
    assert np.mean(losses[-3:]) < 0.5 * np.mean(losses[:3])


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_each_optimizer_moves_the_weights(tiny_model, optimizer):
    model = a_model(tiny_model)
    before = weights(model)
    go(model, replace(PLAN, optimizer=optimizer, steps=2), even_words())
    assert not np.array_equal(weights(model), before)
    assert np.isfinite(weights(model)).all()


def test_something_may_be_done_before_each_micro_batch(tiny_model):
    plan, seen = replace(PLAN, micro_batch=2), []
    gradient_of(a_model(tiny_model), even_words(), np.arange(8), plan, 0, before_each=lambda: seen.append(1))
    assert len(seen) == 4


@pytest.mark.parametrize("optimizer", ["adafactor", "adamw"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_update_that_memory_was_refused_for_moves_the_rest_when_it_is_made_again(
    tiny_model, monkeypatch, optimizer, at
):
    """The one parameter that was refused may miss the step; no other is moved twice, or not at all."""
    plan, rng = replace(PLAN, optimizer=optimizer), np.random.default_rng(at)
    once, again = a_model(tiny_model, plan), a_model(tiny_model, plan)
    slopes = [torch.from_numpy(rng.normal(size=p.shape).astype(np.float32)) for p in once.parameters()]
    moved = [p.detach().clone() for p in once.parameters()]
    for model in (once, again):
        for parameter, slope in zip(model.parameters(), slopes, strict=True):
            parameter.grad = slope.clone()
    assert update(once, make_optimizer(once, plan))
    where, name = (torch, "norm") if optimizer == "adafactor" else (torch, "zeros_like")
    real, calls = getattr(where, name), []

    def refused_once(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2 * at + 5:
            raise RuntimeError("can't allocate memory")
        return real(*args, **kwargs)

    monkeypatch.setattr(where, name, refused_once)
    made = make_optimizer(again, plan)
    with pytest.raises(RuntimeError, match="can't allocate"):
        update(again, made)
    assert update(again, made)
    differ = [not torch.allclose(a, b, atol=1e-6) for a, b in zip(once.parameters(), again.parameters(), strict=True)]
    assert sum(differ) == (1 if optimizer == "adafactor" else 0)
    assert all(not torch.equal(a, b) for a, b in zip(once.parameters(), moved, strict=True))
    assert all(p.grad is None for p in again.parameters())


def test_when_an_update_is_refused_the_heap_has_no_holes_from_then_on(tiny_model, monkeypatch):
    model, plain, refused, plan = a_model(tiny_model), a_model(tiny_model), [], replace(PLAN, micro_batch=1, batch=8)
    data = even_words()
    go(plain, replace(plan, allocator="tight", checkpointing=False), data)
    real = proxtune.training.optimizer.update

    def refused_once(model, optimizer):
        if not refused:
            refused.append(1)
            raise RuntimeError("can't allocate memory")
        return real(model, optimizer)

    monkeypatch.setattr(proxtune.training.gradient_step, "update", refused_once)
    _, governor = go(model, plan, data)
    assert np.array_equal(weights(model), weights(plain))
    assert [entry["to"] for entry in governor.step_downs] == ["micro-batch 1 with the tight allocator"]


def test_until_one_was_made_a_judgement_is_taken_to_last_as_long_as_the_planner_says():
    clock = SimpleNamespace(limit_seconds=100.0, left=50.0, elapsed=50.0)
    training = SimpleNamespace(
        clock=clock, ending_seconds=5.0, milestone_seconds=0.0, evaluations=2, judging_steps=20.0, most_steps=1000,
        keeper=Unkept(),
    )  # fmt: skip

    def steps(validation_seconds: float) -> int:
        state = TrainingState(PLAN, 100, step=40, validation_seconds=validation_seconds)
        list(reschedule(state, [1.0] * 40, training))
        return state.steps

    assert steps(0.0) == steps(20.0) == 43, "two more evaluations of 20 steps each"
    assert steps(5.0) > 70


@pytest.mark.parametrize(("evaluations", "judged"), [(1, []), (2, []), (3, [3, 6])])
def test_the_last_point_is_judged_where_there_are_others_and_kept_in_any_case(
    tiny_model, tiny_texts, evaluations, judged
):
    kept = []
    plan, data = replace(PLAN, steps=6), words_of(tiny_texts, tiny_model)
    records, _ = go(a_model(tiny_model), plan, data, save_best=lambda: kept.append(1), evaluations=evaluations)
    assert [record["step"] for record in records if record["kind"] == "validation"] == judged
    assert kept
