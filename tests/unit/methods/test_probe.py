"""probe: nothing of the model learns but the layer that is fitted to its features."""

from proxtune.memory.devices.cpu import CALIBRATION
from proxtune.methods.base import FORWARD
from proxtune.methods.probe import METHOD
from proxtune.tasks.base import TaskTraits
from support.methods import a_classifier, learning
from support.profiles import PLAN, PROFILE


def test_probe_trains_nothing(tiny_folder):
    assert learning(METHOD.prepare(a_classifier(tiny_folder), PLAN)) == set()


def test_it_costs_a_forward_pass():
    assert METHOD.cost.trace_family == FORWARD
    assert METHOD.cost.count_trainable(PLAN, PROFILE.model) == 0
    assert METHOD.cost.kernel_bytes(PLAN, TaskTraits(), CALIBRATION) == CALIBRATION.forward_kernel_bytes["fp32"]
    assert METHOD.fits_head(TaskTraits())
    assert not METHOD.makes_steps
