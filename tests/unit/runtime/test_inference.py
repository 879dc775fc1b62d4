"""Evaluation under the governor: the same logits however the rows are cut, and never a dead end after learning."""

import numpy as np
import pytest

from proxtune.memory.devices.cpu import ProcessMeter
from proxtune.memory.governor import Governor
from proxtune.models.loading import classifier_config, load_classifier
from proxtune.models.tokenizer.loading import load_tokenizer
from proxtune.runtime.inference import final_outputs, forward_passes, outputs_of

REFUSED = RuntimeError("could not create a primitive")


class Limited(ProcessMeter):
    """Remembers which limits were set."""

    def __init__(self) -> None:
        self.limits: list[int | None] = []

    def limit(self, room_bytes: int | None) -> None:
        self.limits.append(room_bytes)

    def spare(self) -> int | None:
        return None


def a_model(folder):
    return load_classifier(folder, classifier_config(folder, ["a", "b"], load_tokenizer(folder), 32), 0)


def refuse(model, governor, max_rows: int) -> list[int]:
    """Let the model refuse more than `max_rows` at a time while a limit is set; returns the sizes that it was asked."""
    asked: list[int] = []
    forward = model.forward

    def limited(input_ids, **rest):
        asked.append(len(input_ids))
        if len(input_ids) > max_rows and governor.meter.limits[-1:] != [None]:
            raise REFUSED
        return forward(input_ids=input_ids, **rest)

    model.forward = limited
    return asked


def test_a_refusal_halves_the_rows_and_the_logits_stay(tiny_model, rows):
    model, governor = a_model(tiny_model), Governor(10**9, Limited())
    whole = outputs_of(model, rows, 0, "fp32", 32 * 32, governor)
    asked = refuse(model, governor, max_rows=4)
    np.testing.assert_allclose(outputs_of(model, rows, 0, "fp32", 32 * 32, governor), whole, atol=1e-5)
    assert max(asked) == 32
    assert sum(size for size in asked if size <= 4) == len(rows)


def test_every_row_passes_once(tiny_model, rows):
    model, governor = a_model(tiny_model), Governor(None, Limited())
    seen = [int(row) for found, _ in forward_passes(model, rows, 0, "fp32", 256, governor) for row in found]
    assert sorted(seen) == list(range(len(rows)))


def test_one_row_too_much_is_a_memory_error(tiny_model, rows):
    model, governor = a_model(tiny_model), Governor(10**9, Limited())
    refuse(model, governor, max_rows=0)
    with pytest.raises(MemoryError, match="one row"):
        outputs_of(model, rows, 0, "fp32", 256, governor)


def test_what_has_learned_is_evaluated_all_the_same_and_the_limit_is_set_again(tiny_model, rows):
    model, governor = a_model(tiny_model), Governor(10**9, Limited())
    whole = outputs_of(model, rows, 0, "fp32", 256, governor)
    refuse(model, governor, max_rows=0)
    np.testing.assert_allclose(final_outputs(model, rows, 0, "fp32", 256, governor), whole, atol=1e-5)
    assert governor.meter.limits == [None, 10**9]


def test_when_address_space_is_refused_the_same_rows_are_tried_again(tiny_model, rows, monkeypatch):
    model, governor = a_model(tiny_model), Governor(10**9, Limited())
    asked = refuse(model, governor, max_rows=4)
    renewals = iter([False, True, *[False] * 1000])
    monkeypatch.setattr(governor, "renew", lambda: next(renewals))
    outputs_of(model, rows, 0, "fp32", 32 * 32, governor)
    assert asked[:3] == [32, 32, 16]


def test_an_error_that_is_no_refusal_is_not_swallowed(tiny_model, rows):
    model, governor = a_model(tiny_model), Governor(None, Limited())
    model.forward = lambda **inputs: 1 / 0
    with pytest.raises(ZeroDivisionError):
        final_outputs(model, rows, 0, "fp32", 256, governor)
