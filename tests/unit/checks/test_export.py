"""The contract of an export format: the check finds each way of breaking it."""

from dataclasses import replace

import pytest

from proxtune.checks import check_export
from proxtune.export.base import ExportFormat
from proxtune.export.safetensors import FORMAT
from proxtune.storage.atomic import write_atomic


def copy_weights(source, out):
    write_atomic(out, lambda place: place.write_bytes((source / "model.safetensors").read_bytes()))


WEIGHTS = ExportFormat(
    name="weights", description="the weights alone", source="model", makes="file", write=copy_weights
)


def test_a_format_of_another_package_that_keeps_the_contract_passes(run_dir):
    check_export(WEIGHTS, run_dir)


def write_in_place(source, out):
    out.write_bytes((source / "model.safetensors").read_bytes())


def hide_the_failure(source, out):
    try:
        copy_weights(source, out)
    except OSError:
        out.write_bytes(b"half")


def leave_a_file(source, out):
    out.with_name("notes.txt").write_text("made by me")
    copy_weights(source, out)


def touch_the_source(source, out):
    (source / "config.json").write_text("{}")
    copy_weights(source, out)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (replace(WEIGHTS, name="My Weights"), "small letters"),
        (replace(WEIGHTS, description=""), "no description"),
        (replace(WEIGHTS, source="journal"), "is made from 'journal'"),
        (replace(WEIGHTS, makes="folder"), "is to make a folder and made: file"),
        (replace(FORMAT, makes="file"), "is to make a file and made: folder"),
        (replace(WEIGHTS, write=lambda source, out: None), "made: nothing"),
        (replace(WEIGHTS, write=lambda source, out: out.touch()), "wrote no bytes"),
        (replace(WEIGHTS, write=write_in_place), "left .* behind when it could not write"),
        (replace(WEIGHTS, write=hide_the_failure), "hid that it could not write"),
        (replace(WEIGHTS, write=leave_a_file), "left files beside its export"),
        (replace(WEIGHTS, write=touch_the_source), "changed the run folder"),
        (replace(WEIGHTS, source="adapter"), "cannot export .*no adapter|cannot export .*kept no adapter"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_check_finds_a_format_that_breaks_it(run_dir, broken, words):
    with pytest.raises(AssertionError, match=words):
        check_export(broken, run_dir)
