"""Profiles cross a pipe as JSON and come back as they were."""

import json

from proxtune.planning.profile import ModelProfile, trace_key, traces_as_dict, traces_from_dict
from support.profiles import PROFILE


def test_what_a_child_found_out_comes_back_from_json():
    found = ModelProfile(
        facts=PROFILE.model, passed_bytes=123, traces=PROFILE.traces, flops_per_second=PROFILE.flops_per_second
    )
    assert ModelProfile.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    assert traces_from_dict(json.loads(json.dumps(traces_as_dict(PROFILE.traces)))) == PROFILE.traces


def test_a_trace_is_named_by_family_dtype_and_checkpointing():
    assert trace_key("layers", "bf16") == "layers/bf16"
    assert trace_key("layers", "bf16", True) == "layers/bf16/ckpt"


def test_the_calibration_is_the_devices():
    assert PROFILE.calibration is PROFILE.device.calibration
