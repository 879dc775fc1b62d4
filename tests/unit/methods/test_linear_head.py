"""The classification layer that is fitted: as scikit-learn's, from the same features, and never worse than what is there."""

import doctest
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from proxtune.methods import linear_head
from proxtune.methods.linear_head import (
    SOFTENING,
    STRENGTHS,
    LabelledFeatures,
    LinearHead,
    features_of,
    fit_head,
    fitting_bytes,
    fitting_flops,
    head_at_hand,
    install_head,
    load_head,
    save_head,
    soften_head,
)
from proxtune.methods.registry import find_method
from proxtune.models.introspection import head_of, without_adapters
from support.methods import a_classifier
from support.profiles import PLAN


def a_problem(classes, rows=120, width=6, noise=0.3, seed=0):
    """Rows around a centre for each class, in no order: (features, labels)."""
    random = np.random.default_rng(seed)
    centres = 3 * random.normal(size=(classes, width))
    labels = random.permutation(np.arange(rows) % classes)
    found = (centres[labels] + noise * random.normal(size=(rows, width))).astype(np.float32)
    return LabelledFeatures(features=found, labels=labels)


def parts(whole, at):
    first, second = (
        LabelledFeatures(features=whole.features[rows], labels=whole.labels[rows])
        for rows in (slice(0, at), slice(at, None))
    )
    return first, second


def right(head, rows):
    return ((rows.features @ head.weight.T + head.bias).argmax(1) == rows.labels).mean()


@pytest.mark.parametrize(("classes", "has_bias"), [(2, True), (3, True), (2, False), (3, False)])
def test_the_fitted_head_tells_apart_what_can_be_told_apart(classes, has_bias):
    whole = a_problem(classes)
    head = fit_head(*parts(whole, 90), classes=classes, has_bias=has_bias)
    assert right(head, whole) > 0.97
    assert head.accuracy == right(head, parts(whole, 90)[1])
    assert has_bias or not head.bias.any()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("has_bias", [True, False])
def test_each_fit_is_that_of_scikit_learn(classes, has_bias):
    from sklearn.linear_model import LogisticRegression

    rows = a_problem(classes, rows=400, noise=4.0)
    deviation = rows.features.std(0)
    mean = rows.features.mean(0) if has_bias else np.zeros_like(deviation)
    standard = (rows.features - mean) / deviation
    fits = list(linear_head._fits(rows, np.arange(classes), has_bias))
    for strength, (weight, bias) in zip(STRENGTHS, fits, strict=True):
        # Of two classes it fits one row of log-odds: the penalty of two that are each other's opposite is half of that.
        twin = LogisticRegression(
            C=strength * (2 if classes == 2 else 1), fit_intercept=has_bias, max_iter=2000, tol=1e-8
        ).fit(standard, rows.labels)
        mine = rows.features @ weight.T + bias
        theirs = twin.decision_function(standard)
        mine = mine[:, 1] - mine[:, 0] if classes == 2 else mine - mine.mean(1, keepdims=True)
        theirs = theirs if classes == 2 else theirs - theirs.mean(1, keepdims=True)
        np.testing.assert_allclose(mine, theirs, atol=1e-2)


def test_what_is_fitted_in_pieces_is_what_is_fitted_at_once(monkeypatch):
    train, validation = parts(a_problem(3, noise=2.0), 90)
    whole = fit_head(train, validation, classes=3, has_bias=True)
    monkeypatch.setattr(linear_head, "_LOGITS_AT_A_TIME", 33)
    pieces = fit_head(train, validation, classes=3, has_bias=True)
    np.testing.assert_allclose(pieces.weight, whole.weight, atol=1e-3)


def test_the_features_stay_as_they_are():
    rows = a_problem(3)
    before = rows.features.copy()
    fit_head(rows, rows, classes=3, has_bias=True)
    assert np.array_equal(rows.features, before)


@pytest.mark.parametrize("knows", [True, False])
def test_what_knows_already_stays_where_no_fit_does_better(knows):
    random = np.random.default_rng(0)
    labels = np.arange(80) % 2
    words = np.array([[-1.0, 0.0], [1.0, 0.0]], dtype=np.float32) * (1 if knows else -1)
    known = LinearHead(weight=words, bias=np.zeros(2, dtype=np.float32))
    held = np.where(labels[:, None] == 1, 1.0, -1.0) * np.array([1.0, 0.0]) + 0.1 * random.normal(size=(80, 2))
    held = held.astype(np.float32)
    train = held[:, ::-1].copy() if knows else held  # what can be learned tells nothing where the words know
    rows = (LabelledFeatures(features=train, labels=labels), LabelledFeatures(features=held, labels=labels))
    head = fit_head(*rows, classes=2, has_bias=False, known=known)
    assert np.array_equal(head.weight, words) == knows
    assert head.accuracy == right(head, rows[1]) == 1.0


def test_a_class_that_training_never_showed_is_never_chosen():
    random = np.random.default_rng(0)
    labels = 2 * (np.arange(60) % 2)  # classes 0 and 2 of three
    rows = LabelledFeatures(
        features=(random.normal(size=(60, 4)) + 3 * labels[:, None]).astype(np.float32), labels=labels
    )
    head = fit_head(rows, rows, classes=3, has_bias=True)
    assert 1 not in (rows.features @ head.weight.T + head.bias).argmax(1)


def test_one_class_alone_is_always_chosen():
    rows = LabelledFeatures(features=np.ones((5, 3), dtype=np.float32), labels=np.ones(5, dtype=int))
    assert fit_head(rows, rows, classes=2, has_bias=True).accuracy == 1.0


def test_more_rows_and_more_classes_take_more():
    assert fitting_bytes(2000, 8, 2) > fitting_bytes(1000, 8, 2) > 4 * 1000 * 8
    assert fitting_bytes(10**9, 8, 2) - fitting_bytes(10**9 - 1, 8, 2) == 32  # logits are there a few at a time
    assert fitting_flops(1000, 8, 20) == 10 * fitting_flops(1000, 8, 2)


def test_a_saved_head_comes_back_and_becomes_the_models_last_layer(tiny_folder, tmp_path):
    model = a_classifier(tiny_folder, ("a", "b", "c"))
    random = np.random.default_rng(0)
    width = head_of(model)[1].in_features
    head = LinearHead(
        weight=random.normal(size=(3, width)).astype(np.float32), bias=random.normal(size=3).astype(np.float32)
    )
    save_head(tmp_path, head)
    install_head(model, load_head(tmp_path))
    found = head_at_hand(model)
    assert np.array_equal(found.weight, head.weight)
    assert np.array_equal(found.bias, head.bias if head_of(model)[1].bias is not None else np.zeros(3))


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_on_the_features_is_the_model_itself(tiny_folder, classes):
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

    found = features_of(model, passes(), np.array([len(row) for row in rows]))
    random = np.random.default_rng(0)
    weight = random.normal(size=(classes, found.shape[1])).astype(np.float32)
    bias = random.normal(size=classes).astype(np.float32) * (head_of(model)[1].bias is not None)
    install_head(model, LinearHead(weight=weight, bias=bias))
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask).logits.numpy()
    np.testing.assert_allclose(logits, found @ weight.T + bias, rtol=1e-3, atol=1e-4)
    assert all(p.grad is None for p in model.parameters())


def test_features_of_the_one_query_that_sums_a_row_up():
    """As Perceiver has it: (rows, 1, width) go into the last layer, whatever the rows' lengths."""

    class Summing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config = SimpleNamespace(num_labels=2)
            self.last = torch.nn.Linear(3, 2)

    model = Summing()
    summed = torch.arange(6.0).reshape(2, 1, 3)
    found = features_of(model, ((np.array([1, 0]), model.last(summed)) for _ in range(1)), np.array([5, 9]))
    assert (found == summed[[1, 0], 0].numpy()).all()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_softened_head_gives_the_same_answers_less_sure_of_them(tiny_folder, method):
    plan = replace(PLAN, method=method, rank=2)
    model = find_method(method).prepare(a_classifier(tiny_folder, ("a", "b", "c")), plan).eval()
    ids = torch.arange(10, 40).reshape(2, 15)
    with torch.no_grad():
        before = model(input_ids=ids).logits
        soften_head(model)
        after = model(input_ids=ids).logits
    torch.testing.assert_close(after * SOFTENING, before)
    assert head_of(without_adapters(model))[1].weight.requires_grad


def test_the_example_in_the_docstring_is_right():
    examples = doctest.DocTestFinder().find(fit_head, globs=vars(linear_head).copy())
    assert examples[0].examples
    assert not any(doctest.DocTestRunner().run(example).failed for example in examples)
