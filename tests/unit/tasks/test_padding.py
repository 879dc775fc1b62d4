"""Padding as noise: it shows in models that look at it, only while it is tried, and nowhere else."""

from types import SimpleNamespace

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


def test_a_model_without_one_table_is_left_as_it_is():
    with padding_as_noise(SimpleNamespace(), 0):
        pass
