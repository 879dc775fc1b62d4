"""What lies in the working folder is data: no module and no setting is taken from there, whatever its name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.commands import ENVIRONMENT, HANGS_AFTER_SECONDS

# Of the standard library and of what we import; some are imported early, some only in a stage.
MODULES = ["random", "code", "tokenize", "tokenizers", "torch", "csv", "sitecustomize", "matplotlib"]


@pytest.fixture
def folder(tmp_path, tiny_reviews) -> Path:
    """The reviews, and beside them modules that write a file when they are imported."""
    (tmp_path / "reviews.csv").write_bytes(tiny_reviews.read_bytes())
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(
            f'open("{name}-was-run", "w").close()\nraise SystemExit("{name} was run")\n'
        )
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("begin", ["proxtune", "-m proxtune"])
def test_no_module_is_imported_from_the_working_folder(folder, tiny_model, begin):
    entry = ["-m", "proxtune"]
    if begin == "proxtune":  # as the command that pip makes begins
        (folder / "bin").mkdir()
        (folder / "bin" / "proxtune").write_text("from proxtune.cli import main\nmain()\n")
        entry = [str(folder / "bin" / "proxtune")]
    words = ["plan", "reviews.csv", "--model", str(tiny_model), "--method", "probe"]
    done = subprocess.run(
        [sys.executable, *entry, *words], cwd=folder, capture_output=True, text=True, env=os.environ | ENVIRONMENT,
        timeout=HANGS_AFTER_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "probe" in done.stderr
    assert [place.name for place in folder.glob("*-was-run")] == []


def test_a_gguf_file_is_read_without_the_working_folder(folder):
    """In a process of its own, which fails here after its imports."""
    script = """
import sys
from pathlib import Path
sys.path[:] = [place for place in sys.path if place]  # as the command's own
import proxtune.models.gguf
proxtune.models.gguf.find_spec = lambda name: True
try: proxtune.models.gguf.dequantized(Path("some.gguf"))
except proxtune.errors.UserError as error: print(error)
"""
    (folder / "some.gguf").write_bytes(b"GGUF and nothing more")
    environment = os.environ | ENVIRONMENT | {"XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=folder, capture_output=True, text=True, env=environment
    )
    assert "some.gguf cannot be dequantized" in done.stdout, done.stderr
    assert [place.name for place in folder.glob("*-was-run")] == []


def test_a_damaged_setting_of_matplotlib_does_not_reach_the_report(tmp_path):
    """In a process of its own: settings are read at the first import."""
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe")
    script = """
from proxtune.report.charts import memory_chart
records = [{"kind": "memory", "seconds": second, "memory_bytes": 1000} for second in range(5)]
print(memory_chart(records, None, {})[:4])
"""
    done = subprocess.run([sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "<svg\n"
