"""The dry run: real steps on a copy, their memory by phase, and a refusal where the room is too small."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest

import proxtune.planning.dry_run
import proxtune.runtime.inference
import proxtune.tasks.generation.validation_answers
import proxtune.training.bit_allocation
import proxtune.training.optimizer
from proxtune.compression.architecture import Structure
from proxtune.config.plan import PHASES
from proxtune.config.recipe import Recipe
from proxtune.data.batching import epoch_batches
from proxtune.memory.devices.cpu import DEVICE, ProcessMeter
from proxtune.memory.governor import Governor
from proxtune.memory.phases import Phases
from proxtune.methods.registry import find_method
from proxtune.models.loading import classifier_config, load_classifier, load_generator
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.planning.cost_model import with_growth
from proxtune.planning.dry_run import DryRun, dry_run
from proxtune.planning.selection import smaller_plan
from proxtune.runtime.clock import Clock
from proxtune.runtime.inference import touch_embeddings
from proxtune.runtime.session import Session
from proxtune.tasks.base import TaskData
from proxtune.tasks.registry import find_task
from proxtune.training.context import Training
from proxtune.training.gradient_step import gradient_of, gradient_within_limit
from proxtune.training.trainer import train
from support.generating import toy_data
from support.profiles import PLAN
from support.trainings import NoCheckpoints

STRUCTURE = Structure(58_000, 4, 32, 1000, 3)


@pytest.fixture(autouse=True)
def no_time_limit(monkeypatch):
    """A machine that does much else may take seconds for a step: that is no sign of kernels that fell back."""
    monkeypatch.setattr(proxtune.planning.dry_run, "_LONG_SECONDS", math.inf)


class StatedMeter:
    """A peak as the test says."""

    fragments = True

    def __init__(self, peak: int) -> None:
        self._peak = peak

    def now(self) -> int:
        return 1_000_000

    def peak(self) -> int:
        return self._peak

    def reset(self) -> None: ...
    def trim(self) -> None: ...
    def limit(self, room_bytes: int | None) -> None: ...

    def spare(self) -> int | None:
        return None


def dry_run_of(folder, plan, rows, memory=None, meter=None, structure=None):
    config = classifier_config(folder, ["a", "b"], load_tokenizer(folder), plan.max_length)
    data = TaskData(
        split=None,
        tokenizer=None,
        config=config,
        train=rows,
        validation=rows,
        max_length=plan.max_length,
        labels=("a", "b"),
    )
    return measured("classify", data, load_classifier(folder, config, 0), folder, plan, memory, meter, structure)


def measured(task, data, model, folder, plan, memory=None, meter=None, structure=None):
    model = find_method(plan.method).prepare(model, plan)
    meter = meter or ProcessMeter()
    session = Session(
        recipe=Recipe(data="", out="", seed=0), folder=folder, source=None, task=find_task(task), data=data, device=DEVICE,
        clock=Clock(time.monotonic(), None), governor=Governor(memory, meter), phases=Phases(meter, 0), emit=print,
        structure=structure,
    )  # fmt: skip
    return dry_run(plan, model, session, meter.now())


@pytest.mark.parametrize("method", ["full", "layers", "lora", "probe"])
def test_every_phase_of_every_method_is_measured(tiny_model, rows, method):
    optimizer = "adamw" if find_method(method).uses_gradients else "none"
    plan = replace(PLAN, method=method, optimizer=optimizer, rank=4, last_layers=1)
    found = dry_run_of(tiny_model, plan, rows)
    assert found.refused == ""
    assert set(found.memory_bytes) == set(PHASES) - {"load"}
    assert all(count > 0 for count in found.memory_bytes.values())
    assert found.seconds_per_token > 0


def test_optimizer_and_gradients_are_those_of_the_weights_that_learn(tiny_model, rows):
    found = dry_run_of(tiny_model, PLAN, rows)
    model = load_classifier(tiny_model, classifier_config(tiny_model, ["a", "b"], load_tokenizer(tiny_model), 32), 0)
    weights = sum(p.numel() for p in model.parameters())
    assert found.refused == ""
    assert found.terms["gradients"] == 4 * weights
    assert found.terms["optimizer"] == pytest.approx(8 * weights, rel=0.01)  # and a step counter for each tensor


def test_a_plan_over_the_budget_is_refused_with_what_it_would_take(tiny_model, rows):
    meter = StatedMeter(peak=900_000_000)
    assert dry_run_of(tiny_model, PLAN, rows, memory=1_000_000_000, meter=meter).refused == ""
    found = dry_run_of(tiny_model, PLAN, rows, memory=900_000_000, meter=meter)
    assert found.refused.startswith("it would take 9")
    assert found.memory_bytes["train"] > 900_000_000


@pytest.mark.parametrize(("allocator", "more"), [("fast", 0.16 / 2), ("tight", 0.05)])
def test_texts_have_more_shapes_than_were_met_and_what_the_heap_breaks_up_to_is_added(
    tiny_chat, tiny_pairs, allocator, more
):
    data = toy_data(tiny_chat, tiny_pairs)
    plan = replace(PLAN, method="lora", rank=4, max_length=data.max_length, allocator=allocator)
    model, meter = load_generator(tiny_chat, data.config), StatedMeter(peak=900_000_000)
    found = measured("translate", data, model, tiny_chat, plan, meter=meter)
    traced = 900_000_000 - 1_000_000 - found.terms["gradients"] - found.terms["optimizer"]
    assert found.terms["activations"] == pytest.approx((1 + more) * traced, abs=2)
    assert (
        found.memory_bytes["train"]
        == with_growth(900_000_000 + found.terms["activations"] - traced, DEVICE.calibration) + found.terms["growth"]
    )
    assert found.memory_bytes["evaluate"] < found.memory_bytes["train"]
    standing, adapters = found.memory_bytes["prepare"], found.terms["gradients"]  # which are merged before saving
    assert found.memory_bytes["save"] == standing - adapters + found.terms["growth"]


@pytest.mark.parametrize(("method", "at_last"), [("layers", "fp32"), ("lora", "bf16")])
def test_texts_are_judged_at_last_as_a_run_does_it(tiny_chat, tiny_pairs, monkeypatch, method, at_last):
    """In the type of the weights, unless there are adapters that need the plan's."""
    judged, answered, emit, answer = (
        [],
        [],
        proxtune.runtime.inference.outputs_of,
        proxtune.tasks.generation.validation_answers.generate_answers,
    )

    def said(model, data, pad_id, dtype, *others):
        judged.append(dtype)
        return emit(model, data, pad_id, dtype, *others)

    def answers(model, data, how, dtype, *others):
        answered.append(dtype)
        return answer(model, data, how, dtype, *others)

    monkeypatch.setattr(proxtune.planning.dry_run, "outputs_of", said)
    monkeypatch.setattr(proxtune.tasks.generation.validation_answers, "generate_answers", answers)
    data = toy_data(tiny_chat, tiny_pairs)
    plan = replace(PLAN, method=method, dtype="bf16", rank=4, last_layers=1, max_length=data.max_length)
    found = measured("translate", data, load_generator(tiny_chat, data.config), tiny_chat, plan)
    assert not found.refused
    assert (judged[0], judged[-1], answered) == ("bf16", at_last, [at_last])


def test_what_the_milestone_takes_is_seen(tiny_model, rows, monkeypatch):
    seen, allot = [], proxtune.training.bit_allocation.try_allocation

    def allotting(plan, model, *others):
        seen.append(np.ones(100_000_000, dtype=np.uint8).sum())
        allot(plan, model, *others)
        assert all(p.grad is None for p in model.parameters())

    monkeypatch.setattr(proxtune.planning.dry_run, "try_allocation", allotting)
    free = dry_run_of(tiny_model, PLAN, rows)
    assert not seen
    held = dry_run_of(tiny_model, PLAN, rows, structure=STRUCTURE)
    assert len(seen) == 1
    assert held.validation_bytes > free.validation_bytes + 60_000_000


def test_a_plan_whose_milestone_does_not_fit_is_refused(tiny_model, rows, monkeypatch):
    def refused(*parts):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 46875264 bytes.")

    monkeypatch.setattr(proxtune.planning.dry_run, "try_allocation", refused)
    assert "can't allocate" in dry_run_of(tiny_model, PLAN, rows, structure=STRUCTURE).refused
    assert dry_run_of(tiny_model, PLAN, rows, structure=replace(STRUCTURE, bits=16)).refused == ""


def test_only_the_embeddings_that_are_used_are_read_where_they_do_not_learn(tiny_model, rows, monkeypatch):
    import torch

    model = load_classifier(tiny_model, classifier_config(tiny_model, ["a", "b"], load_tokenizer(tiny_model), 32), 0)
    read: list[int] = []
    pick = torch.Tensor.__getitem__
    monkeypatch.setattr(torch.Tensor, "__getitem__", lambda self, few: read.extend(few.tolist()) or pick(self, few))
    touch_embeddings(model.requires_grad_(False), rows)
    assert sorted(read) == sorted(set(rows.ids.tolist()))
    read.clear()
    touch_embeddings(model.requires_grad_(True), rows)
    assert sorted(read) == list(range(model.config.vocab_size))


def test_the_schedule_grows_when_there_is_time_for_more(tiny_model, rows):
    config = classifier_config(tiny_model, ["a", "b"], load_tokenizer(tiny_model), 32)
    model = find_method("full").prepare(load_classifier(tiny_model, config, 0), PLAN)
    training = Training(
        model=model, train=rows, validation=rows, pad_id=config.pad_token_id, seed=0, clock=Clock(time.monotonic(), 3600.0),
        ending_seconds=0.0, evaluations=2, max_steps=60, governor=Governor(None, ProcessMeter()),
        phases=Phases(ProcessMeter(), 0), save_best=lambda: None, save_stopped=lambda: None, interrupted=lambda: False,
        checkpointer=NoCheckpoints(),
    )  # fmt: skip
    plan = replace(PLAN, micro_batch=8, steps=40)
    records = list(train(plan, training))
    assert [(r.before, r.after) for r in records if r.kind == "schedule"] == [(40, 60)]
    assert sum(r.kind == "step" for r in records) == 60


@pytest.mark.parametrize(
    ("activations", "needs", "smaller"),
    [(0, 0, 16), (320, 1000, 16), (320, 1100, 16), (320, 1200, 8), (320, 1305, 1), (320, 1400, None)],
)
def test_a_refused_plan_goes_down_as_far_as_its_activations_say(activations, needs, smaller):
    plan = replace(PLAN, batch=32, micro_batch=32)
    found = DryRun(terms={"activations": activations}, memory_bytes={"train": needs})
    got = smaller_plan(plan, found, 1000)
    assert (None if got is None else got.micro_batch) == smaller


def test_one_row_cannot_be_halved_but_the_allocator_can_hold_less():
    plan, found = replace(PLAN, micro_batch=1), DryRun(memory_bytes={"load": 1})
    tight = replace(plan, allocator="tight")
    assert smaller_plan(plan, found, 1000) is None
    assert smaller_plan(plan, found, 1000, no_other=True) == tight
    assert smaller_plan(tight, found, 1000, no_other=True) is None


def test_the_longest_row_is_met_in_the_second_batch(rows):
    assert int(np.argmax(rows.lengths)) in epoch_batches(rows.lengths, 8, 0, 0)[1]


def test_a_plan_whose_kernels_fall_back_near_the_limit_is_refused(tiny_model, rows, monkeypatch):
    """Without memory for its own kernels oneDNN computes many times slower, and says nothing."""
    now, calls = [0.0], []
    monkeypatch.setattr(proxtune.planning.dry_run, "_LONG_SECONDS", 2.0)

    def gradient(model, data, few, plan, pad_id, governor):
        calls.append(len(few))
        now[0] += (1.0 if len(calls) < 3 else 60.0) * len(few)

    monkeypatch.setattr(proxtune.planning.dry_run, "gradient_within_limit", gradient)
    monkeypatch.setattr(proxtune.planning.dry_run, "update", lambda model, optimizer: None)
    monkeypatch.setattr(proxtune.planning.dry_run.time, "perf_counter", lambda: now[0])
    found = dry_run_of(tiny_model, PLAN, rows)
    assert "times slower" in found.refused
    assert len(calls) == 3


def test_where_address_space_is_refused_the_gradient_is_computed_again(tiny_model, rows):
    class Renewing(Governor):
        can = True

        def renew(self) -> bool:
            return self.can

    model = find_method("full").prepare(
        load_classifier(tiny_model, classifier_config(tiny_model, ["a", "b"], load_tokenizer(tiny_model), 32), 0), PLAN
    )
    forward, asked = model.forward, []

    def refused_once(**inputs):
        asked.append(len(inputs["input_ids"]))
        if len(asked) == 2:
            raise RuntimeError("could not create a primitive")
        return forward(**inputs)

    model.forward = refused_once
    few, governor = np.arange(8), Renewing(None, ProcessMeter())
    loss = gradient_within_limit(model, rows, few, PLAN, 0, governor)
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    assert gradient_of(model, rows, few, PLAN, 0) == loss
    assert all(np.array_equal(p.grad, kept) for p, kept in zip(model.parameters(), found, strict=True))
    governor.can, asked[:] = False, [1]
    with pytest.raises(RuntimeError, match="primitive"):
        gradient_within_limit(model, rows, few, PLAN, 0, governor)
    assert all(p.grad is None for p in model.parameters())


def test_the_result_is_judged_without_the_optimizer_and_points_in_training_beside_it(tiny_model, rows, monkeypatch):
    make = proxtune.training.optimizer.make_optimizer

    def heavy(*given):
        optimizer = make(*given)
        optimizer.ballast = np.ones(100_000_000, dtype=np.uint8)
        return optimizer

    monkeypatch.setattr(proxtune.planning.dry_run, "make_optimizer", heavy)
    found = dry_run_of(tiny_model, PLAN, rows)
    assert found.refused == ""
    assert found.validation_bytes > found.memory_bytes["evaluate"] + 60_000_000
