"""Headers of tensor files, the work of whoever made them: refused in bounded memory, with a line that says why."""

import contextlib
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxtune.errors import UserError
from proxtune.storage.safetensors_header import BadTensors, check_files, read_header


def a_file(path, header, data=b"", length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def many(path, one, count):
    """A header of so many entries, written piece by piece: this process is to stay small."""
    with path.open("wb") as file:
        file.write((len(one) * count + 1).to_bytes(8, "little") + b"{")
        for _ in range(count // 1000):
            file.write(one * 1000)


DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
BAD = {
    "nothing": (b"", b"", None),
    "a length beyond the file": ({}, b"", 2**63),
    "a length of four gigabytes": ({}, b"", 2**32),
    "no JSON": (b"{]", b"", None),
    "not UTF-8": (b'{"\xff": 1}', b"", None),
    "a list": ([], b"", None),
    "a thousand brackets": (DEEP, b"", None),
    "a petabyte": ({"a": entry(shape=(2**48,), offsets=(0, 2**50))}, bytes(8), None),
    "a product that wraps": ({"a": entry(shape=(2**32, 2**32, 2**32), offsets=(0, 0))}, b"", None),
    "a negative size": ({"a": entry(shape=(-2,), offsets=(0, -8))}, bytes(8), None),
    "a size that is true": ({"a": entry(shape=(True,), offsets=(0, 4))}, bytes(4), None),
    "a size with a fraction": ({"a": entry(shape=(2.0,))}, bytes(8), None),
    "more bytes than the shape": ({"a": entry(shape=(1,))}, bytes(8), None),
    "bytes that are not there": ({"a": entry()}, bytes(7), None),
    "bytes that nobody has": ({"a": entry()}, bytes(9), None),
    "two in one place": ({"a": entry(), "b": entry()}, bytes(8), None),
    "a gap": ({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20), None),
    "the same name twice": (b'{"a": %s, "a": %s}' % ((json.dumps(entry()).encode(),) * 2), bytes(8), None),
    "an unknown dtype": ({"a": entry(dtype="F99")}, bytes(8), None),
    "something beside": ({"a": {**entry(), "code": "import os"}}, bytes(8), None),
    "metadata that are no words": ({"__metadata__": {"a": 1}}, b"", None),
    "a name without end": ({"a" * 5000: entry()}, bytes(8), None),
    "a million entries": (b'"t":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},', b"", None),
    "sixty thousand entries": (b'"t":{"data_offsets":[]},', b"", None),
}


@pytest.mark.parametrize("name", BAD)
def test_a_header_that_was_made_to_do_harm_is_refused(tmp_path, name, monkeypatch):
    header, data, length = BAD[name]
    path = a_file(tmp_path / "a.safetensors", header, data, length)
    if name == "nothing":
        path.write_bytes(b"")
    if name.endswith("entries"):
        many(path, header, 60_000 if name.startswith("sixty") else 10**6)
        monkeypatch.setattr(json, "loads", lambda *given, **named: pytest.fail("it was parsed, which takes long"))
    with pytest.raises(BadTensors) as caught:
        read_header(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_the_largest_header_that_is_read_takes_bounded_memory(tmp_path):
    """Four megabytes of the smallest entries, in a process of its own."""
    raw = b"{" + b",".join(b'"%x":[]' % i for i in range(310_000)) + b"}"
    path = a_file(tmp_path / "a.safetensors", raw[:3_990_000])
    script = """
import resource, sys
from pathlib import Path
from proxtune.storage.safetensors_header import BadTensors, read_header
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_header(Path(sys.argv[1]))
except BadTensors:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < 150_000_000


@given(st.binary(max_size=300))
def test_no_bytes_at_all_end_in_a_traceback(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("h") / "a.safetensors"
    path.write_bytes(data)
    with contextlib.suppress(BadTensors):
        read_header(path)


def test_real_files_are_read(tiny_model):
    from safetensors import safe_open

    header = read_header(tiny_model / "model.safetensors")
    with safe_open(str(tiny_model / "model.safetensors"), framework="np") as file:
        assert set(file.keys()) == set(header.entries)
        for name, found in header.entries.items():
            assert tuple(file.get_slice(name).get_shape()) == found.shape


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    inside, outside = tmp_path / "run", tmp_path / "secret"
    inside.mkdir()
    outside.write_text("mine")
    (inside / "a").symlink_to(outside)
    (inside / "b").symlink_to(inside / "c")
    (inside / "c").write_text("here")
    check_files(inside, ["b", "c", "not-there"])
    check_files(inside, ["a"], also=(tmp_path,))
    for names in (["a"], ["../secret"]):
        with pytest.raises(UserError, match="out of its folder"):
            check_files(inside, names)
