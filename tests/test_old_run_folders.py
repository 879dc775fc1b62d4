"""Run folders of an earlier version still open: `fixtures/old_runs` has them, and its README says how they were made."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from commands import proxtune_in_a_process

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parent / "fixtures" / "old_runs"
RECORDED_ROOT = "/old-runs"
TEXT = {".toml", ".json", ".jsonl", ".html", ".md"}
# What a resumed training rests on. Threads, processor and versions may differ from machine to machine.
BASE = ("weights", "head", "rows", "seed", "order", "device")


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    """The run folders with their models and data, where their files say that they are."""
    root = tmp_path_factory.mktemp("old") / "runs"
    shutil.copytree(FIXTURES, root)
    for path in root.rglob("*"):
        if path.suffix in TEXT:
            path.write_text(path.read_text(encoding="utf-8").replace(RECORDED_ROOT, str(root)), encoding="utf-8")
    return root


def printed(*words: str) -> Any:
    """The JSON that a command ends with."""
    done = proxtune_in_a_process(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def journal(path: Path) -> list[bytes]:
    """The records of a journal: a head of 16 bytes with the length in its third number, the bytes, and a check of 4."""
    content, place, found = path.read_bytes(), 0, []
    while place < len(content):
        length = struct.unpack_from("<4sIII", content, place)[2]
        found.append(content[place + 16 : place + 16 + length])
        place += 16 + length + 4
    return found


@pytest.mark.parametrize("name", ["classification", "generation", "size"])
def test_predict_says_what_it_said(old, name):
    before = json.loads((old / "predictions" / f"{name}.json").read_text(encoding="utf-8"))
    now = printed("predict", str(old / name), *(row["text"] for row in before))["predictions"]
    assert [row.pop("probabilities", None) for row in now] == [
        pytest.approx(row.pop("probabilities"), abs=1e-3) if "probabilities" in row else None for row in before
    ]
    assert now == before


@pytest.mark.parametrize(("name", "file"), [("classification", "held.csv"), ("generation", "held.jsonl")])
def test_evaluate_finds_what_it_found(old, name, file):
    before = json.loads((FIXTURES / name / "result.json").read_text(encoding="utf-8"))["evaluations"][file]
    now = printed("evaluate", str(old / name), str(old / "data" / file))
    assert now["rows"] == before["rows"]
    assert now["metrics"] == pytest.approx(before["metrics"], rel=1e-3)
    kept = json.loads((old / name / "result.json").read_text(encoding="utf-8"))
    assert kept["evaluations"][file] == now


@pytest.mark.parametrize("name", ["classification", "generation"])
def test_report_is_drawn_again(old, name):
    page = old / name / "report.html"
    page.unlink()
    done = proxtune_in_a_process("report", str(old / name))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{page}\n"
    recorded = json.loads((FIXTURES / name / "result.json").read_text(encoding="utf-8"))
    for word in (*recorded["evaluations"], recorded["plan"]["name"]):
        assert word in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "kind", "file"),
    [
        ("classification", "safetensors", "model/model.safetensors"),
        ("generation", "safetensors", "model/model.safetensors"),
        ("generation", "adapter", "adapter/adapter_model.safetensors"),
    ],
)
def test_export_copies_what_was_learned(old, tmp_path, name, kind, file):
    printed("export", str(old / name), "--out", str(tmp_path / "out"), "--format", kind)
    assert (tmp_path / "out" / Path(file).name).read_bytes() == (FIXTURES / name / file).read_bytes()


@pytest.mark.parametrize("name", ["interrupted-full", "interrupted-nno"])
def test_resume_finishes_from_where_it_was(old, name):
    before = journal(FIXTURES / name / "journal.bin")
    begun = json.loads(before[0])
    steps_of_nno = sum(record.startswith(b"s") for record in before)
    snapshot = int(next((FIXTURES / name / "snapshots").glob("step-*")).stem.partition("-")[2])
    result = printed("resume", str(old / name))
    assert (result["status"], result["steps"]) == ("done", begun["plan"]["steps"])
    assert result["interruptions"][0]["from_step"] == max(snapshot, steps_of_nno)

    after = journal(old / name / "journal.bin")
    assert after[: len(before)] == before
    events = [json.loads(record) for record in after if not record.startswith(b"s")]
    (*_, pins) = (event["pins"] for event in events if "pins" in event)
    assert {key: pins[key] for key in BASE} == {key: begun["pins"][key] for key in BASE}
