"""Plain tensors as a model: one row of numbers, and back in their shapes."""

import pytest
import torch

from proxtune.optim.points import Points

START = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor(5.0), torch.tensor([6, 7])]


def test_a_place_is_all_numbers_in_a_row_once_for_each_row_of_the_batch():
    points = Points(START)
    assert points(torch.zeros(2)).tolist() == [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]] * 2
    assert [parameter.shape for parameter in points.parameters()] == [(7,)]
    assert points.place.dtype == torch.float32


def test_tensors_come_back_in_their_shapes():
    points = Points(START)
    for own, given in zip(points.tensors(), START, strict=True):
        assert own.shape == given.shape
        assert torch.equal(own, given.float())
    assert points.tensors(torch.arange(7.0))[0].tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_what_was_given_is_not_moved_with_the_model():
    start = torch.ones(2)
    points = Points([start])
    with torch.no_grad():
        points.place.add_(1)
    assert start.tolist() == [1.0, 1.0]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(RuntimeError, match="split_sizes"):
        Points(START).tensors(torch.zeros(6))
