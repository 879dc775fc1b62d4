"""full: every weight learns."""

from dataclasses import replace

from proxtune.methods.full import METHOD
from support.methods import a_classifier, learning
from support.profiles import PLAN, PROFILE


def test_full_trains_everything(tiny_folder):
    model = METHOD.prepare(a_classifier(tiny_folder), PLAN)
    assert learning(model) == {name for name, _ in model.named_parameters()}


def test_its_embeddings_take_a_gradient_and_no_trace_shows_it():
    assert METHOD.cost.trace_family == "layers"
    assert METHOD.cost.trains_embeddings
    assert METHOD.cost.count_trainable(PLAN, PROFILE.model) == PROFILE.model.parameters
    assert METHOD.cost.backward_share(PLAN, PROFILE.model) == 1.0


def test_less_optimizer_state_is_worth_a_look():
    assert METHOD.trains_everything(replace(PLAN, last_layers=0), 6)
