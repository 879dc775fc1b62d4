"""The command line: exit codes, one line that says how to fix it, and nothing left behind."""

import json
import re
import resource
import subprocess
import sys

import pytest

import proxtune.pipeline.queries
import proxtune.pipeline.sitting
import proxtune.pipeline.supervisor
from proxtune import cli
from proxtune.pipeline import stages
from proxtune.pipeline.process import StageOutcome
from support.commands import assert_refused, proxtune_in_a_process

GOOD = "text,label\n" + "".join(f"a fine film number {i},{'pos' if i % 2 else 'neg'}\n" for i in range(40))


@pytest.fixture
def proxtune_here(monkeypatch, capsys):
    """The command line in this process, its stages too: the same path less the seconds that imports take."""

    def run_stage(job, listen=None, **watched):
        return StageOutcome(result=stages.do(job, listen or (lambda event: None), others_bytes=0))

    from proxtune.pipeline import fit
    from proxtune.runtime import session

    for name in ("set_allocator", "unload_cold_code"):  # they change the whole process for good
        monkeypatch.setattr(session, name, lambda *args: None)
    monkeypatch.setattr(fit, "make_profile", lambda session: pytest.fail("not refused: the run continued to planning"))
    for module in (proxtune.pipeline.supervisor, proxtune.pipeline.sitting, proxtune.pipeline.queries):
        monkeypatch.setattr(module, "run_stage", run_stage)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["proxtune", *words])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


BAD_DATA = {
    "missing": ("reviews.csv", None, ["reviews.csv", "no such file"]),
    "empty": ("reviews.csv", b"", ["reviews.csv", "empty"]),
    "binary": ("reviews.csv", bytes(range(256)) * 20, ["reviews.csv"]),
    "malformed JSONL": ("reviews.jsonl", b'{"text": "a", "label": "x"}\n{"text": \n', ["reviews.jsonl line 2"]),
    "ragged": ("reviews.csv", b"text,label\na,x\nb,y,z\n", ["line 3"]),
    "no label column": ("reviews.csv", b"text\na fine film\na dull film\n", ["no label column", "--label-column"]),
    "a label missing": ("reviews.csv", GOOD.encode() + b"a film without a word,\n", ["line 42"]),
    "one class": ("reviews.csv", b"text,label\na film,good\nb film,good\nc film,good\n", ["one class only", "good"]),
    "unknown format": ("reviews.docx", b"PK\x03\x04", ["reviews.docx"]),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_data_that_do_not_do_are_refused_with_a_line_that_says_how(proxtune_here, tiny_model, tmp_path, case):
    name, content, words = BAD_DATA[case]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = sorted(tmp_path.iterdir())
    code, out, err = proxtune_here(
        "train", str(tmp_path / name), "--out", str(tmp_path / "run"), "--model", str(tiny_model)
    )
    assert_refused(code, err, *words)
    assert out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_a_mistake_is_told_before_torch_is_imported(proxtune_here, tiny_model, tmp_path, monkeypatch):
    from proxtune.runtime import session

    monkeypatch.setattr(session, "import_lean", lambda: pytest.fail("imported first"))
    code, _, err = proxtune_here("plan", str(tmp_path / "none.csv"), "--model", str(tiny_model))
    assert_refused(code, err, "none.csv", "no such file")


BAD_WORDS = {
    "unknown unit": (["--memory", "7parsecs"], ["--memory", "unknown unit", "700MB"]),
    "no memory": (["--memory", "0"], ["--memory", "more than zero"]),
    "negative memory": (["--memory=-3GB"], ["--memory", "more than zero"]),
    "no time": (["--time", "0s"], ["--time", "more than zero"]),
    "not an amount": (["--time", "soon"], ["--time", "not an amount"]),
    "micro-batch over batch": (["--micro-batch", "9", "--batch", "8"], ["--micro-batch 9", "--batch 8"]),
    "no batch": (["--batch", "0"], ["--batch 0", "more than zero"]),
    "unknown method": (["--method", "magic"], ["magic", "probe, nno, lora, layers, full"]),
    "unknown task": (["--task", "cook"], ["cook", "classify"]),
    "unknown dtype": (["--dtype", "int3"], ["int3", "bf16"]),
    "unknown codes": (["--base-dtype", "int3"], ["int3", "int4"]),
    "codes without adapters": (["--base-dtype", "int8", "--method", "full"], ["--base-dtype", "lora"]),
    "codes under a classifier": (["--base-dtype", "int8", "--task", "classify"], ["--base-dtype", "generate text"]),
    "unknown device": (["--device", "abacus"], ["abacus", "cpu"]),
    "unknown model": (["--model", "nobody/nothing-at-all"], ["nobody/nothing-at-all", "minilm"]),
    "model folder missing": (["--model", "./no/such/folder"], ["./no/such/folder", "not a folder"]),
    "a text column that is not there": (["--text-column", "prose"], ["prose", "--text-column"]),
}


@pytest.mark.parametrize("case", BAD_WORDS)
def test_options_that_do_not_do_are_refused_with_a_line_that_says_how(proxtune_here, tiny_model, tmp_path, case):
    options, words = BAD_WORDS[case]
    (tmp_path / "reviews.csv").write_text(GOOD)
    if "--model" not in options:
        options = [*options, "--model", str(tiny_model)]
    code, out, err = proxtune_here("train", str(tmp_path / "reviews.csv"), "--out", str(tmp_path / "run"), *options)
    assert_refused(code, err, *words)
    assert out == ""
    assert [place.name for place in tmp_path.iterdir()] == ["reviews.csv"]


def test_with_json_a_refusal_is_an_object_on_the_last_line(proxtune_here, tmp_path):
    code, out, err = proxtune_here(
        "train", str(tmp_path / "none.csv"), "--out", str(tmp_path / "run"), "--memory", "0", "--json"
    )
    assert_refused(code, err, "--memory")
    answer = json.loads(out.splitlines()[-1])
    assert answer["status"] == "refused"
    assert "--memory" in answer["message"]


def test_a_folder_that_is_there_is_never_touched(proxtune_here, tmp_path):
    (tmp_path / "reviews.csv").write_text(GOOD)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    code, _, err = proxtune_here("train", str(tmp_path / "reviews.csv"), "--out", str(tmp_path / "run"))
    assert_refused(code, err, "already exists", "--out")
    assert [place.name for place in (tmp_path / "run").iterdir()] == ["precious.txt"]


def test_a_refused_run_leaves_no_parent_folders_behind(proxtune_here, tiny_model, tmp_path):
    out = tmp_path / "runs" / "today" / "first"
    code, _, err = proxtune_here("train", str(tmp_path / "none.csv"), "--out", str(out), "--model", str(tiny_model))
    assert_refused(code, err, "none.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["evaluate", "predict", "report"])
def test_a_folder_that_is_no_run_is_refused(proxtune_here, tmp_path, command):
    more = {"evaluate": ["data.csv"], "predict": ["a film"], "report": []}[command]
    code, _, err = proxtune_here(command, str(tmp_path), *more)
    assert_refused(code, err, "not a finished run")


def test_predicting_nothing_is_refused(proxtune_here, tmp_path):
    code, _, err = proxtune_here("predict", str(tmp_path))
    assert_refused(code, err, "nothing to predict", "--file")


@pytest.mark.parametrize("words", [["train"], ["train", "data.csv"], ["nonsense"], ["plan", "data.csv", "--nonsense"]])
def test_words_that_are_not_understood_end_with_two(proxtune_here, words):
    code, _, err = proxtune_here(*words)
    assert code == 2
    assert "Traceback" not in err


def test_a_refusal_in_a_process_of_its_own(tmp_path, tiny_model):
    done = proxtune_in_a_process("train", "none.csv", "--out", "run", "--model", str(tiny_model), cwd=tmp_path)
    assert_refused(done.returncode, done.stderr, "none.csv", "no such file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("method", ["auto", "layers"])
def test_the_least_memory_that_a_refusal_names_holds_in_a_dry_run(tmp_path, tiny_model, method):
    data = tmp_path / "reviews.csv"
    data.write_text(GOOD)
    memory = "150MB"
    for _ in range(3):  # a budget that the imports alone pass names a method that only looks, the next the method
        words = ("plan", str(data), "--model", str(tiny_model), "--method", method, "--memory", memory)
        done = proxtune_in_a_process(*words)
        if done.returncode == 0:
            break
        named = re.search(r"the smallest plan needs --memory (\S+) \(", done.stderr)
        assert named is not None, done.stderr
        memory = named[1]
    assert done.returncode == 0, done.stderr


def test_help_is_quick_and_does_not_import_torch():
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = proxtune_in_a_process("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0
    assert min(seconds) < 0.5  # of the processor, not of the clock
    command = [sys.executable, "-X", "importtime", "-m", "proxtune", "--help"]
    imported = subprocess.run(command, capture_output=True, text=True).stderr
    names = {line.rpartition("|")[2].strip().split(".")[0] for line in imported.splitlines()}
    assert "typer" in names
    assert names.isdisjoint({"torch", "transformers", "numpy", "sklearn", "peft", "matplotlib"})
