"""Benchmarks are run by hand: that they can still be begun is a test."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "benchmarks"


def test_every_benchmark_finds_what_it_imports():
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    assert "nno" in names
    code = f"import sys; sys.path.insert(0, {str(FOLDER)!r})\n" + "\n".join(f"import {name}" for name in names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_of_benchmarks_is_made_of_the_newest_records():
    code = f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import tables; sys.stdout.write(tables.page(tables.HERE))"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    page = (FOLDER.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page == made, "run `make bench-tables`"


def test_of_records_the_newest_with_a_date_counts(tmp_path):
    for name in ("size-2026-01-02.md", "size-2026-11-01.md", "size-seeds-2026-12-01.md"):
        (tmp_path / name).write_text(f"# {name}\n")
    code = f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import tables; from pathlib import Path\n"
    code += f"folder = Path({str(tmp_path)!r}); print(tables.newest(folder, 'size').name, tables.newest(folder, 'nno'))"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert made.split() == ["size-2026-11-01.md", "None"]
