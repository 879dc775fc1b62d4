"""The cache: folders appear whole and go whole, whatever other processes do at the same time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxtune.errors import UserError
from proxtune.storage import cache
from proxtune.storage.cache import add_to_cache, bound_cache, cache_folder, cached_models, clear_cache, find_cached

MAKE = """
import sys, time
from proxtune.storage.cache import add_to_cache
def make(folder):
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"0" * 700)
    print("begun", flush=True)
    sys.stdin.read()
add_to_cache("weights", "slow", "another process", make)
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "proxtune"


def holding(size: int):
    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"0" * size)

    return make


def add(name: str, size: int = 1000, used: float | None = None, kind: str = "weights") -> Path:
    folder = add_to_cache(kind, name, "", holding(size))
    if used is not None:
        os.utime(folder, (used, used))
    return folder


def names(kind: str = "weights") -> list[str]:
    """What is there of a kind, hidden things among it."""
    return sorted(path.name for path in cache_folder(kind).iterdir())


@pytest.fixture
def maker():
    """A process that is making the folder `slow`, until its stdin is closed."""
    process = subprocess.Popen([sys.executable, "-c", MAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"begun\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_it_is_where_caches_are(place, monkeypatch):
    assert cache_folder("models") == place / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("weights") == Path.home() / ".cache" / "proxtune" / "weights"


def test_what_was_never_filled_is_empty():
    assert cached_models() == []
    assert clear_cache() == 0
    assert find_cached("weights", "none") is None


def test_a_folder_is_listed_with_its_size_its_use_and_its_source(place):
    old = add("old", 500, used=1_000)
    new = add_to_cache("models", "new", "a file", holding(1000))
    os.utime(new, (2_000, 2_000))
    (place / "weights" / "a file").write_bytes(b"no folder")
    assert [(model.path, model.bytes, model.last_used_seconds, model.source) for model in cached_models()] == [
        (new, 1006, 2_000, "a file"),
        (old, 500, 1_000, ""),
    ]


def test_a_folder_that_is_found_counts_as_used():
    add("old", used=1_000)
    add("new", used=2_000)
    assert find_cached("weights", "old") == cache_folder("weights") / "old"
    assert [model.path.name for model in cached_models()] == ["old", "new"]


def test_what_cannot_be_made_leaves_nothing():
    def fail(folder: Path) -> None:
        holding(1000)(folder)
        folder.with_name("beside").touch()
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        add_to_cache("weights", "failed", "", fail)
    assert names() == []


def test_what_lies_beside_the_folder_is_not_kept():
    def make(folder: Path) -> None:
        holding(1)(folder)
        folder.with_name("joined.gguf").touch()

    add_to_cache("models", "one", "", make)
    assert names("models") == ["one"]
    assert sorted(path.name for path in (cache_folder("models") / "one").iterdir()) == [".source", "model.safetensors"]


def test_two_that_make_the_same_both_have_it():
    def make(folder: Path) -> None:
        add("same", 300)
        holding(300)(folder)

    folder = add_to_cache("weights", "same", "", make)
    assert names() == ["same"]
    assert (folder / "model.safetensors").stat().st_size == 300


def test_one_that_comes_between_the_look_and_the_rename_is_taken(monkeypatch):
    def replace_folder(temporary: Path, target: Path) -> None:
        holding(300)(target)
        temporary.rename(target)

    monkeypatch.setattr(cache, "replace_folder", replace_folder)
    assert add("same").is_dir()
    assert names() == ["same"]


def test_all_is_cleared_and_counted(place):
    add("a", 300)
    add("b", 500, kind="models")
    assert clear_cache() == 800
    assert (names("weights"), names("models")) == ([], [])


def test_a_mapped_file_may_be_removed():
    with (add("a", 300) / "model.safetensors").open("rb") as file:
        assert clear_cache() == 300
        assert len(file.read()) == 300


def test_what_another_process_is_making_is_neither_listed_nor_cleared(maker):
    add("a", 300)
    assert [model.path.name for model in cached_models()] == ["a"]
    assert clear_cache() == 300
    maker.stdin.close()
    assert maker.wait() == 0
    assert names() == ["slow"]


def test_what_a_killed_process_had_begun_is_cleared(maker):
    maker.kill()
    maker.wait()
    assert len(names()) == 1
    assert cached_models() == []
    assert clear_cache() >= 700
    assert names() == []


def test_what_cannot_be_removed_is_told_in_a_sentence(monkeypatch):
    def refuse(path, target):
        raise PermissionError(13, "Permission denied")

    add("a")
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UserError, match=r"cannot be cleared \(Permission denied\); remove that folder yourself"):
        clear_cache()
    bound_cache(0, keep=cache_folder("weights") / "b")  # and ends no run
    assert names() == ["a"]


@pytest.mark.parametrize(
    ("most_bytes", "left"),
    [(3000, ["a", "b", "c"]), (2999, ["b", "c"]), (1000, ["c"]), (0, [])],
)
def test_the_least_recently_used_go_until_the_others_fit(most_bytes, left):
    for i, name in enumerate(("a", "b", "c")):
        add(name, used=1_000 + i)
    models = add("of another kind", used=1, kind="models")
    bound_cache(most_bytes, keep=cache_folder("weights") / "none")
    assert names() == left
    assert models.is_dir()


def test_the_one_to_keep_stays_though_it_is_the_oldest_and_too_large():
    keep = add("a", 5000, used=1_000)
    add("b", used=2_000)
    bound_cache(2000, keep=keep)
    assert names() == ["a"]


def test_what_a_killed_process_had_begun_goes_when_the_cache_is_bounded(maker):
    keep = add("a")
    maker.kill()
    maker.wait()
    bound_cache(10_000, keep=keep)
    assert names() == ["a"]


def test_one_that_another_process_removes_meanwhile_is_passed_over(monkeypatch):
    add("a")
    listed = cached_models()
    clear_cache()
    monkeypatch.setattr(cache, "_models_of", lambda kind: iter(listed))
    assert clear_cache() == 0
    bound_cache(0, keep=cache_folder("weights") / "b")
