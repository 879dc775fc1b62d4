"""Mapped files: found where nothing was written to them, and given back page by page."""

import mmap

import numpy as np
import pytest

from proxtune.memory.mapped_files import can_let_go, let_go, let_go_of_all, mapped, read_ahead, whole_pages
from proxtune.memory.process import resident_bytes

pytestmark = pytest.mark.skipif(not can_let_go(), reason="the system does not say what is mapped")
MEGABYTES = 32


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(np.arange(MEGABYTES << 20, dtype=np.uint8).tobytes())
    return path


def shown(path, mode="c"):
    """The file's bytes, mapped as safetensors does: private, and writable."""
    return np.memmap(path, mode=mode)


def span(view):
    begin = view.ctypes.data
    return begin, begin + view.nbytes


def test_a_mapped_file_is_found_by_its_path_and_through_a_link(tmp_path, file):
    (tmp_path / "link").symlink_to(file)
    view = shown(file)
    (found,) = mapped([tmp_path / "link", tmp_path / "absent"])
    assert (found.begin, found.path, found.offset) == (span(view)[0], file.resolve(), 0)
    assert found.place(span(view)[0] + 5000) == 5000
    assert mapped([tmp_path / "absent"]) == []


def test_what_was_written_to_is_not_among_them(file):
    view = shown(file)
    view[9000] = 1
    assert mapped([file]) == []
    assert view[9000] == 1


def test_pages_go_and_come_again_with_the_same_bytes(file):
    view = shown(file)
    total = int(view.sum(dtype=np.int64))
    before = resident_bytes()
    read_ahead([whole_pages(*span(view))])
    let_go([whole_pages(*span(view))])
    assert before - resident_bytes() > 0.9 * (MEGABYTES << 20)
    assert int(view.sum(dtype=np.int64)) == total
    let_go_of_all([file])
    assert before - resident_bytes() > 0.9 * (MEGABYTES << 20)


@pytest.mark.parametrize(("begin", "end", "pages"), [(0, 4, 1), (1, 4.5, 1), (0.5, 1.5, 0), (3, 3, 0)])
def test_only_whole_pages_are_given_back(begin, end, pages):
    low, high = (round(at * mmap.PAGESIZE) for at in (begin, end))
    address, count = whole_pages(low, high)
    assert low <= address
    assert address + count <= max(high, low)
    assert count == max(0, high // mmap.PAGESIZE - -(-low // mmap.PAGESIZE)) * mmap.PAGESIZE
    assert (count > 0) == (pages > 0)
