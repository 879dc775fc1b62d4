"""Padding as noise: it shows in models that look at it, only while it is tried, and nowhere else."""

from types import SimpleNamespace

import pytest
import torch

from proxtune.tasks.padding import padding_as_noise

IDS = torch.tensor([[0, 0, 5, 6], [3, 4, 5, 6]])


class Model(torch.nn.Module):
    """Its padding is embedded as zeros, as that of new models is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(9, 4, padding_idx=0)

    def get_input_embeddings(self):
        return self.table


def test_padding_is_embedded_as_noise_and_other_tokens_as_they_are():
    model = Model()
    before = model.table(IDS)
    with padding_as_noise(model, 0):
        during = model.table(IDS)
        again = model.table(IDS)
    assert torch.equal(before[IDS != 0], during[IDS != 0])
    assert (during[IDS == 0].abs().sum(-1) > 0).all()
    assert torch.equal(during, again), "two passes can be compared"
    assert torch.equal(model.table(IDS), before), "it is over"


def test_noise_is_the_same_however_much_padding_there_is():
    """SmolLM2's padding ends each turn of a chat too: with other noise such a row would seem to see what fills it up."""
    model, one = Model(), torch.tensor([[5, 0, 6]])
    with padding_as_noise(model, 0):
        alone, filled = model.table(one), model.table(torch.nn.functional.pad(one, (4, 0)))
        nothing_else = model.table(torch.zeros(1, 2, dtype=torch.long))
    assert torch.equal(alone, filled[:, 4:])
    assert nothing_else.isfinite().all()


class Quantized(torch.nn.Embedding):
    """Says its scale as well."""

    def forward(self, ids):
        return super().forward(ids), 0.5


def test_a_table_that_says_more_is_left_as_it_is():
    model = Model()
    model.table = Quantized(9, 4, padding_idx=0)
    with padding_as_noise(model, 0):
        said, scale = model.table(IDS)
    assert (said[IDS == 0].abs().sum(), scale) == (0, 0.5)


@pytest.mark.parametrize("model", [SimpleNamespace(), SimpleNamespace(get_input_embeddings=lambda: torch.zeros(3))])
def test_a_model_without_one_table_is_left_as_it_is(model):
    with padding_as_noise(model, 0):
        pass
