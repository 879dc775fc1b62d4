"""probe: nothing of the model learns but the head that is fitted to its features."""

from types import SimpleNamespace

import numpy as np
import pytest

from proxtune.memory.devices.cpu import CALIBRATION
from proxtune.methods.base import FORWARD
from proxtune.methods.probe import METHOD, features, install_head
from proxtune.models.introspection import head_of
from proxtune.tasks.base import TaskTraits
from support.methods import a_classifier, learning
from support.profiles import PLAN, PROFILE


def test_probe_trains_nothing(tiny_folder):
    assert learning(METHOD.prepare(a_classifier(tiny_folder), PLAN)) == set()


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_on_the_probes_features_is_the_model_itself(tiny_folder, tmp_path, classes):
    import torch

    model = a_classifier(tiny_folder, ("a", "b", "c")[:classes]).eval()
    rows = [np.arange(10, 10 + length) for length in (3, 7, 5, 12)]
    ids = torch.zeros(4, 16, dtype=torch.long)
    mask = torch.zeros(4, 16, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = torch.from_numpy(row), 1

    def passes():
        for order in (np.array([2, 0, 3]), np.array([1])):
            with torch.inference_mode():
                yield order, model(input_ids=ids[order], attention_mask=mask[order]).logits

    found = features(model, passes(), np.array([len(row) for row in rows]))
    head = head_of(model)[1]
    random = np.random.default_rng(0)
    weight = random.normal(size=(classes, head.in_features)).astype(np.float32)
    bias = random.normal(size=classes).astype(np.float32) if head.bias is not None else np.zeros(classes, np.float32)
    np.savez(tmp_path / "head.npz", weight=weight, bias=bias)
    install_head(model, tmp_path / "head.npz")
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask).logits.numpy()
    np.testing.assert_allclose(logits, found @ weight.T + bias, rtol=1e-3, atol=1e-4)
    assert all(p.grad is None for p in model.parameters())


def test_features_of_the_one_query_that_sums_a_row_up():
    """As Perceiver has it: (rows, 1, width) go into the last layer, whatever the rows' lengths."""
    import torch

    class Summing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config = SimpleNamespace(num_labels=2)
            self.last = torch.nn.Linear(3, 2)

    model = Summing()
    summed = torch.arange(6.0).reshape(2, 1, 3)
    found = features(model, ((np.array([1, 0]), model.last(summed)) for _ in range(1)), np.array([5, 9]))
    assert (found == summed[[1, 0], 0].numpy()).all()


def test_it_costs_a_forward_pass():
    assert METHOD.cost.trace_family == FORWARD
    assert METHOD.cost.count_trainable(PLAN, PROFILE.model) == 0
    assert METHOD.cost.kernel_bytes(PLAN, TaskTraits(), CALIBRATION) == CALIBRATION.forward_kernel_bytes["fp32"]
    assert METHOD.fits_head
    assert not METHOD.makes_steps
