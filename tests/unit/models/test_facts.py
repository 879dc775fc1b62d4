"""Facts of a model, and that they come back from JSON."""

import json

from proxtune.models.facts import ModelFacts
from proxtune.models.introspection import model_facts
from support.methods import a_classifier


def test_the_parts_of_a_model_add_up_and_come_back_from_json(tiny_folder):
    model = a_classifier(tiny_folder)
    facts = model_facts(model)
    assert facts.parameters == sum(p.numel() for p in model.parameters())
    assert facts.embedding_parameters + facts.block_parameters < facts.parameters
    assert 0 < facts.linear_parameters < facts.block_parameters
    assert ModelFacts(**json.loads(json.dumps(facts.as_dict()))) == facts
