"""The objective of classes: against torch row by row, however a batch is cut, and with a teacher."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import NystromformerConfig, NystromformerForSequenceClassification

from proxtune.data.dataset import Encoded
from proxtune.tasks.classification.objective import LABELS, loss, outputs, pads, probabilities, rank, score

DATA = Encoded(
    ids=np.arange(10, 22, dtype=np.int32), starts=np.array([0, 3, 4, 9, 12]), labels=np.array([0, 2, 1, 2]), truncated=0,
    objective=LABELS,
)  # fmt: skip
EVERY = np.arange(4)


class Counting(torch.nn.Module):
    """Its logits are sums over the tokens of a row that are not padding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(30, 3)

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        if token_type_ids is not None:  # a token of the second text counts for nothing
            attention_mask = attention_mask * (1 - token_type_ids)
        return SimpleNamespace(logits=(self.table(input_ids) * attention_mask[..., None]).sum(1))


@pytest.fixture
def model():
    return Counting()


def alone(model, row):
    """The logits of a row without padding."""
    return model.table(torch.from_numpy(DATA.ids[DATA.starts[row] : DATA.starts[row + 1]]).long()).sum(0)


def test_outputs_are_the_logits_of_each_row(model):
    found = outputs(model, DATA, np.array([2, 0]), pad_id=0)
    torch.testing.assert_close(found, torch.stack([alone(model, 2), alone(model, 0)]))


def test_a_model_is_told_the_texts_of_a_pair_apart(model):
    pairs = replace(DATA, types=np.array([0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1], dtype=np.int32))
    found = outputs(model, pairs, EVERY, pad_id=0)
    firsts = replace(DATA, ids=DATA.ids[pairs.types == 0], starts=np.array([0, 2, 3, 6, 8]))
    torch.testing.assert_close(found, outputs(model, firsts, EVERY, pad_id=0))


@pytest.mark.parametrize("cuts", [[4], [1, 3], [1, 1, 2]])
def test_pieces_of_a_batch_add_up_to_its_mean_loss(model, cuts):
    pieces = np.split(EVERY, np.cumsum(cuts)[:-1])
    found = sum(loss(model, DATA, piece, 0, EVERY, None) for piece in pieces)
    wanted = torch.nn.functional.cross_entropy(
        torch.stack([alone(model, row) for row in EVERY]), torch.tensor(DATA.labels)
    )
    torch.testing.assert_close(found, wanted)


def test_a_teacher_is_half_of_what_is_learned(model):
    teacher = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    rows, logits = np.array([1, 3]), torch.stack([alone(model, 1), alone(model, 3)])
    taught = torch.from_numpy(teacher[rows]).softmax(-1)
    apart = (taught * (taught.log() - logits.log_softmax(-1))).sum(-1).mean()
    plain = torch.nn.functional.cross_entropy(logits, torch.tensor(DATA.labels[rows]))
    torch.testing.assert_close(loss(model, DATA, rows, 0, rows, teacher), 0.5 * plain + 0.5 * apart)


@given(st.lists(st.lists(st.floats(-1000, 1000), min_size=3, max_size=3), min_size=1, max_size=5))
def test_probabilities_are_of_one_and_in_the_order_of_the_logits(logits):
    logits = np.array(logits)
    chances = probabilities(logits)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    assert np.isfinite(chances).all()
    np.testing.assert_allclose(probabilities(logits + 7.0), chances, rtol=0, atol=1e-9)


def test_scores_are_those_of_the_logits():
    logits = np.log(np.array([[0.8, 0.1, 0.1], [0.3, 0.3, 0.4], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]]))
    found = score(logits, DATA)
    assert found["accuracy"] == pytest.approx(3 / 4)
    assert found["loss"] == pytest.approx(-np.mean(np.log([0.8, 0.4, 0.3, 0.8])))
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_a_certain_mistake_costs_no_infinity():
    assert np.isfinite(score(np.array([[0.0, 1e9, 0.0]] * 4), DATA)["loss"])


def test_more_right_answers_are_better_and_then_less_loss():
    ranks = [rank({"accuracy": accuracy, "loss": loss}) for accuracy, loss in ((0.5, 0.9), (0.6, 2.0), (0.6, 1.0))]
    assert ranks == sorted(ranks)
    assert all(first >= 0 for first, _ in ranks), "-1 stands for no evaluation yet"


class Windowed(torch.nn.Module):
    """Reformer's way: the first token sees the last window of eight, padding and all, where there are several."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(30, 3)

    def forward(self, input_ids, attention_mask):
        filled = torch.nn.functional.pad(input_ids * attention_mask, (0, -input_ids.shape[1] % 8))
        return SimpleNamespace(logits=self.table(filled[:, :1]).sum(1) + self.table(filled[:, -8:]).sum(1))


def test_padding_is_tried_on_a_row_of_several_windows(model):
    rows = Encoded(ids=np.arange(3, 26, dtype=np.int32), starts=np.array([0, 2, 9, 23]), labels=np.zeros(3, np.int64),
                   truncated=0, objective=LABELS)  # fmt: skip
    assert pads(model, rows, 0)
    assert not pads(Windowed(), rows, 0)
    short = replace(rows, ids=rows.ids[:7], starts=np.array([0, 2, 4, 7]))
    assert pads(Windowed(), short, 0)
    alike = replace(rows, ids=rows.ids[:6], starts=np.array([0, 2, 4, 6]))
    assert pads(model, alike, 0)


def test_a_new_model_that_sees_padding_faintly_is_found_out():
    """Nystromformer's kernel goes over padding too: of new weights that is a thousandth of the largest logit."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 60,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    config = NystromformerConfig(**sizes, segment_means_seq_len=64, num_landmarks=64, pad_token_id=0)
    model = NystromformerForSequenceClassification(config).eval()
    rows = Encoded(ids=np.arange(3, 26, dtype=np.int32), starts=np.array([0, 2, 9, 23]), labels=np.zeros(3, np.int64),
                   truncated=0, objective=LABELS)  # fmt: skip
    assert not pads(model, rows, 0)
