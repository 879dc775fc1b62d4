"""The head that is fitted: it tells apart what can be told apart, and never does worse than before."""

import numpy as np
import pytest


@pytest.mark.parametrize(("classes", "has_bias"), [(2, True), (3, True), (2, False), (3, False)])
def test_the_fitted_head_tells_apart_what_can_be_told_apart(tmp_path, classes, has_bias):
    from proxtune.methods.linear_head import fit_head

    random = np.random.default_rng(0)
    centres = 3 * random.normal(size=(classes, 6))
    labels = np.arange(120) % classes
    rows = (centres[labels] + 0.3 * random.normal(size=(120, 6))).astype(np.float32)
    np.savez(
        tmp_path / "features.npz", train=rows[:90], labels=labels[:90], held=rows[90:], held_labels=labels[90:],
        classes=np.asarray(classes), has_bias=np.asarray(has_bias),
    )  # fmt: skip
    fit_head(tmp_path)
    with np.load(tmp_path / "head.npz") as head:
        logits = rows @ head["weight"].T + (head["bias"] if has_bias else 0)
    assert (logits.argmax(1) == labels).mean() > 0.97


@pytest.mark.parametrize("known", [True, False])
def test_a_decoders_words_stay_where_no_fit_does_better(tmp_path, known):
    from proxtune.methods.linear_head import fit_head

    random = np.random.default_rng(0)
    labels = np.arange(80) % 2
    words = np.array([[-1.0, 0.0], [1.0, 0.0]], dtype=np.float32) * (1 if known else -1)
    held = np.where(labels[:, None] == 1, 1.0, -1.0) * np.array([1.0, 0.0]) + 0.1 * random.normal(size=(80, 2))
    train = held[:, ::-1].copy() if known else held  # what can be learned tells nothing where the words know
    np.savez(
        tmp_path / "features.npz", train=train.astype(np.float32), labels=labels, held=held.astype(np.float32),
        held_labels=labels, classes=np.asarray(2), has_bias=np.asarray(False), words=words,
    )  # fmt: skip
    fit_head(tmp_path)
    with np.load(tmp_path / "head.npz") as head:
        assert np.array_equal(head["weight"], words) == known
        assert ((held @ head["weight"].T).argmax(1) == labels).all()


def test_a_class_that_training_never_showed_is_never_chosen(tmp_path):
    from proxtune.methods.linear_head import fit_head

    random = np.random.default_rng(0)
    labels = 2 * (np.arange(60) % 2)  # classes 0 and 2 of three
    rows = (random.normal(size=(60, 4)) + 3 * labels[:, None]).astype(np.float32)
    np.savez(
        tmp_path / "features.npz", train=rows, labels=labels, held=rows, held_labels=labels,
        classes=np.asarray(3), has_bias=np.asarray(True),
    )  # fmt: skip
    fit_head(tmp_path)
    with np.load(tmp_path / "head.npz") as head:
        assert 1 not in (rows @ head["weight"].T + head["bias"]).argmax(1)
