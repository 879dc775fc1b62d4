"""The packages of `examples/extending`, installed: each registers by its entry point and keeps the contract of its kind."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.commands import assert_refused, proxtune_in_a_process

pytestmark = pytest.mark.slow

PACKAGES = Path(__file__).parents[2] / "examples" / "extending"


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """All three, installed by pip into a folder that is on the path of every process that a test starts."""
    place, sources = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("sources")
    folders = sorted(folder for folder in PACKAGES.iterdir() if (folder / "pyproject.toml").is_file())
    assert [folder.name for folder in folders] == ["bitfit", "sentence_pairs", "zip_export"]
    copies = [_copy(folder, sources / folder.name) for folder in folders]  # building leaves files beside the source
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation", "--quiet"]
    done = subprocess.run([*command, "--target", str(place), *map(str, copies)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(place), os.environ.get("PYTHONPATH")))))
        yield


def _copy(source: Path, target: Path) -> Path:
    for file in source.rglob("*"):
        if file.suffix in (".py", ".toml"):
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    return target


def run_python(code: str, *words: str) -> None:
    done = subprocess.run([sys.executable, "-P", "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Sentences that repeat one another, or not."""
    path, words = tmp_path_factory.mktemp("data") / "pairs.csv", ["red", "old", "small", "large", "white", "black"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["premise", "hypothesis", "label"])
        for row in range(80):
            first, second = words[row % 6], words[(row + row // 6) % 6]
            writer.writerow([f"a {first} house", f"the house is {second}", "same" if first == second else "different"])
    return path


@pytest.fixture(scope="module")
def bitfit_run(tmp_path_factory, tiny_model, tiny_reviews):
    folder = tmp_path_factory.mktemp("runs") / "bitfit"
    done = proxtune_in_a_process(
        "train", str(tiny_reviews), "--model", str(tiny_model), "--out", str(folder), "--method", "bitfit",
        "--epochs", "2", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_the_page_shows_the_code_that_is_tested():
    page = (PACKAGES.parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
    shown = re.findall(r"<!-- from: (\S+) -->\n```\w+\n(.*?)```\n", page, flags=re.DOTALL)
    assert len(shown) == 6
    for path, code in shown:
        assert code in (PACKAGES.parents[1] / path).read_text(encoding="utf-8"), path


def test_a_method_in_one_file(bitfit_run, tiny_model):
    _, result = bitfit_run
    assert result["method"] == "bitfit"
    run_python(
        "import sys, pathlib; from proxtune.checks import check_method; from proxtune.methods.registry import find_method; "
        "check_method(find_method('bitfit'), pathlib.Path(sys.argv[1]))",
        str(tiny_model),
    )


def test_a_method_of_a_package_is_planned_beside_our_own(tiny_model, tiny_reviews):
    done = proxtune_in_a_process("plan", str(tiny_reviews), "--model", str(tiny_model), "--memory", "2GB", "--json")
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout.splitlines()[-1])
    methods = {row["plan"]["method"] for row in planned["table"]}
    assert "bitfit" in methods


def test_a_task_in_one_folder(tiny_model, pairs, tmp_path):
    run_python(
        "import sys, pathlib; from proxtune.checks import check_task; from proxtune.tasks.registry import find_task; "
        "check_task(find_task('pairs'), sys.argv[1], pathlib.Path(sys.argv[2]))",
        str(pairs),
        str(tiny_model),
    )
    folder = tmp_path / "run"
    words = ("--model", str(tiny_model), "--out", str(folder), "--task", "pairs", "--method", "full", "--epochs", "2")
    done = proxtune_in_a_process("train", str(pairs), *words)
    assert done.returncode == 0, done.stderr
    predicted = proxtune_in_a_process("predict", str(folder), "a red house ||| the house is red", "--json")
    assert predicted.returncode == 0, predicted.stderr
    assert json.loads(predicted.stdout.splitlines()[-1])["predictions"][0]["label"] in ("same", "different")
    refused = proxtune_in_a_process("predict", str(folder), "a red house")
    assert_refused(refused.returncode, refused.stderr, "not a pair")
    found = proxtune_in_a_process("evaluate", str(folder), str(pairs))
    assert found.returncode == 0, found.stderr


def test_an_export_in_one_file(bitfit_run, tmp_path):
    folder, _ = bitfit_run
    run_python(
        "import sys, pathlib; from proxtune.checks import check_export; from proxtune.export.registry import find_format; "
        "check_export(find_format('zip'), pathlib.Path(sys.argv[1]))",
        str(folder),
    )
    done = proxtune_in_a_process("export", str(folder), "--format", "zip", "--out", str(tmp_path / "model.zip"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.zip").stat().st_size > 0
    assert "zip" in proxtune_in_a_process("export", "--help").stdout
