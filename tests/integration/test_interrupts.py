"""The whole way, as a user stops it: Ctrl-C and SIGTERM leave a model and a report, and `resume` continues to the same end."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from support.commands import assert_refused, proxtune_in_a_process, proxtune_under_way, said_by
from support.run_folders import assert_same_training

FIXED = (
    "--method", "full", "--dtype", "fp32", "--micro-batch", "8", "--batch", "8", "--epochs", "12", "--seed", "3",
    "--memory", "3GB",
)  # fmt: skip


def begun(data, model, out, *words):
    return proxtune_under_way("train", str(data), "--model", str(model), "--out", str(out), *FIXED, *words)


def wait_for(path, words, process):
    until = time.monotonic() + 600
    while not (path.exists() and words in path.read_text()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def straight(tmp_path_factory, wide_model, tiny_reviews):
    """The run that nothing stops."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    process = begun(tiny_reviews, wide_model, folder)
    _, said = said_by(process)
    assert process.returncode == 0, said
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_has_a_model_and_ends_the_same(
    tmp_path, straight, wide_model, tiny_reviews, number, code
):
    folder = tmp_path / "run"
    process = begun(tiny_reviews, wide_model, folder, "--json")
    wait_for(folder.joinpath("metrics.jsonl"), '"step": 40,', process)
    process.send_signal(number)
    out, said = said_by(process)
    assert process.returncode == code, said
    assert json.loads(out.splitlines()[-1])["status"] == "interrupted"
    assert "proxtune resume" in said
    assert (folder / "report.html").is_file()
    stopped = json.loads((folder / "result.json").read_text())
    assert stopped["status"] == "interrupted"
    assert 40 <= stopped["steps"] < stopped["plan"]["steps"]
    if number == signal.SIGINT:  # the rest is the same
        told = proxtune_in_a_process("predict", str(folder), "a fine film")
        assert told.returncode == 0, told.stderr
        return

    done = proxtune_in_a_process("resume", str(folder), "--exact", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["status"], result["steps"]) == ("done", result["plan"]["steps"])
    (interruption,) = result["interruptions"]
    assert (interruption["after"], interruption["from_step"]) == (signal.Signals(number).name, stopped["steps"])
    assert result["measured"]["seconds"] > interruption["seconds"] >= stopped["measured"]["seconds"] - 1
    assert_same_training(straight, folder)
    assert signal.Signals(number).name in (folder / "report.html").read_text()

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "lock"}
    again = proxtune_in_a_process("resume", str(folder))
    assert again.returncode == 0
    assert "there is nothing to resume" in again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "lock"}


@pytest.mark.slow
@pytest.mark.parametrize("who", ["the supervisor", "the stage"])
def test_a_run_that_is_killed_goes_on_from_its_snapshot(tmp_path, straight, wide_model, tiny_reviews, who):
    folder = tmp_path / "run"
    process = begun(tiny_reviews, wide_model, folder)
    wait_for(folder.joinpath("metrics.jsonl"), '"step": 80,', process)
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert children
    for pid in {"the supervisor": [process.pid], "the stage": children}[who]:
        os.kill(pid, signal.SIGKILL)
    said_by(process)
    if who == "the stage":  # taken for lack of memory: begun again with less
        assert process.returncode == 0
        return
    done = proxtune_in_a_process("resume", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert [each["after"] for each in result["interruptions"]] == [None]
    assert_same_training(straight, folder)


@pytest.mark.slow
def test_a_model_of_a_size_goes_on_from_the_smaller_one_that_it_began_with(tmp_path, wide_model, tiny_reviews):
    folder = tmp_path / "run"
    process = begun(tiny_reviews, wide_model, folder, "--size", "100KB")
    wait_for(folder.joinpath("metrics.jsonl"), '"step": 40,', process)
    process.send_signal(signal.SIGINT)
    _, said = said_by(process)
    assert process.returncode == 130, said
    start = (folder / "start" / "structure.json").read_bytes()
    assert json.loads(start)["vocabulary"] < 1000
    done = proxtune_in_a_process("resume", str(folder), "--exact", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["status"], result["steps"]) == ("done", result["plan"]["steps"])
    assert result["artifact_bytes"] <= 100_000
    assert not (folder / "start").exists()


@pytest.mark.slow
def test_what_is_otherwise_than_it_was_is_said_or_refused(tmp_path, wide_model, tiny_reviews):
    folder, data = tmp_path / "run", tmp_path / "reviews.csv"
    data.write_bytes(tiny_reviews.read_bytes())
    process = begun(data, wide_model, folder)
    wait_for(folder.joinpath("metrics.jsonl"), '"step": 80,', process)
    process.send_signal(signal.SIGTERM)
    said_by(process)
    lines = data.read_text().splitlines(keepends=True)
    data.write_text("".join([*lines, lines[1]]))
    refused = proxtune_in_a_process("resume", str(folder), "--exact")
    assert_refused(refused.returncode, refused.stderr, "the rows", "--exact")
    done = proxtune_in_a_process("resume", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    assert "the rows changed" in done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["interruptions"][-1]["notes"] == ["the rows changed"]
