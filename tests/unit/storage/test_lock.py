"""One run folder, one writer; and a lock that no killed process leaves behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from proxtune.errors import UserError
from proxtune.storage.lock import locked

HOLD = """
import subprocess, sys, time
from pathlib import Path
from proxtune.storage.lock import locked
with locked(Path(sys.argv[1])) as lock:
    if sys.argv[2:] == ["with a child"]:
        subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], pass_fds=(lock,))
    print("held", flush=True)
    time.sleep(3600)
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that holds the lock of the folder, perhaps "with a child" that holds it until its stdin is closed."""
    running = []

    def start(*more):
        command = [sys.executable, "-c", HOLD, str(tmp_path), *more]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_a_second_writer_is_refused_and_told_who_holds_it(tmp_path, holder):
    process = holder()
    with pytest.raises(UserError, match=f"process {process.pid}"), locked(tmp_path, patience_seconds=0):
        pass


def test_a_run_that_another_process_works_on_is_not_resumed(tmp_path, holder, monkeypatch):
    from proxtune.config.recipe import Recipe
    from proxtune.pipeline import supervisor
    from proxtune.storage.run_folder import write_recipe

    process = holder()
    write_recipe(Recipe(data="reviews.csv", out=str(tmp_path)), tmp_path / "recipe.toml")
    monkeypatch.setattr(supervisor, "locked", lambda folder: locked(folder, patience_seconds=0))
    with pytest.raises(UserError, match=f"process {process.pid}.* is using {tmp_path}; wait for it to finish"):
        supervisor.resume(tmp_path)


def test_a_lock_that_a_killed_process_left_is_taken_over(tmp_path, holder):
    process = holder()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "lock").read_bytes()
    with locked(tmp_path, patience_seconds=0):
        pass
    assert (tmp_path / "lock").read_bytes() == b""


def test_the_lock_is_held_until_the_last_process_of_the_run_is_gone(tmp_path, holder, monkeypatch):
    process = holder("with a child")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(UserError), locked(tmp_path, patience_seconds=0):
        pass
    waits, sleep = [], time.sleep

    def let_go(seconds):
        process.stdin.close()
        waits.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", let_go)
    with locked(tmp_path, patience_seconds=600):
        assert waits, "it waited for the child"


def test_a_link_in_the_lock_s_place_is_not_written_to(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic"), locked(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "mine"
    assert os.path.lexists(tmp_path / "lock")
