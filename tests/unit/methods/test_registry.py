"""Methods: each keeps the contract on an encoder and on a decoder, and marks exactly what it says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from proxtune.config.plan import Plan
from proxtune.config.recipe import Knobs
from proxtune.methods.base import Prior
from proxtune.methods.lora import adapter_bytes
from proxtune.methods.probe import features, install_head
from proxtune.methods.registry import METHODS
from proxtune.models.introspection import blocks_of, head_of
from proxtune.models.loading import classifier_config, load_classifier, load_tokenizer
from proxtune.planning.profiler import model_facts

PLAN = Plan("full", "fp32", 4, 4, 16, False, "adamw", 1e-3, 1.0, 1, 0)


def a_model(folder: Path, labels: tuple[str, ...] = ("a", "b", "c")):
    return load_classifier(folder, classifier_config(folder, list(labels), load_tokenizer(folder), 16), 0)


def learning(model) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_full_trains_everything(tiny_folder):
    model = METHODS["full"].prepare(a_model(tiny_folder), PLAN)
    assert learning(model) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("rank", [1, 3])
def test_the_planner_counts_what_lora_trains_to_the_last_number(tiny_folder, rank):
    plan, model = replace(PLAN, method="lora", rank=rank), a_model(tiny_folder)
    facts = model_facts(model)
    prepared = METHODS["lora"].prepare(model, plan)
    trained = sum(p.numel() for p in prepared.parameters() if p.requires_grad)
    assert trained == rank * facts["rank_parameters"] + facts["head_parameters"]


@pytest.mark.parametrize("last", [1, 2])
def test_layers_trains_the_last_blocks_and_what_follows_them(tiny_folder, last):
    model = METHODS["layers"].prepare(a_model(tiny_folder), replace(PLAN, method="layers", last_layers=last))
    name, blocks = blocks_of(model)
    marked, first = learning(model), len(blocks) - last
    assert marked
    assert {int(n.removeprefix(f"{name}.").split(".")[0]) for n in marked if n.startswith(name)} == set(
        range(first, len(blocks))
    )
    assert not any("embed" in n for n in marked)
    assert f"{head_of(model)[0]}.weight" in marked


def test_lora_trains_adapters_and_the_head_only(tiny_folder):
    model = METHODS["lora"].prepare(a_model(tiny_folder), replace(PLAN, method="lora", rank=2))
    marked = learning(model)
    assert any("lora_A" in name for name in marked)
    assert all("lora_" in name or "modules_to_save" in name for name in marked)
    assert any("modules_to_save" in name for name in marked)
    assert adapter_bytes(model) == sum(4 * p.numel() for name, p in model.named_parameters() if "lora_" in name) > 0
    assert adapter_bytes(METHODS["lora"].finish(model, PLAN)) == 0


def test_probe_trains_nothing(tiny_folder):
    assert learning(METHODS["probe"].prepare(a_model(tiny_folder), PLAN)) == set()


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_on_the_probes_features_is_the_model_itself(tiny_folder, tmp_path, classes):
    import torch

    model = a_model(tiny_folder, ("a", "b", "c")[:classes]).eval()
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


def test_knobs_choose_the_variant():
    assert METHODS["lora"].variants(6, Knobs(rank=5)) == [{"rank": 5}]
    assert METHODS["layers"].variants(6, Knobs(last_layers=9)) == [{"last_layers": 6}]
    assert [v["last_layers"] for v in METHODS["layers"].variants(6, Knobs())] == [6, 4, 2, 1]


def test_a_prior_climbs_to_its_ceiling():
    prior = Prior(ceiling=0.9, gap=0.3, decay_epochs=1.0)
    assert prior.expected(0) == pytest.approx(0.6)
    assert prior.expected(50) == pytest.approx(0.9)
