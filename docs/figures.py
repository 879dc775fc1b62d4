"""make docs: the figures in prose, filled in from the code's constants and the newest records in benchmarks/.

A figure stands between `<!-- figure: NAME -->` and `<!-- /figure -->` in README.md or docs/*.md.
`python docs/figures.py --check` writes nothing and fails where a page is out of date.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, RECORDS = ROOT / "src" / "proxtune", ROOT / "benchmarks"
_MARKED = re.compile(r"(<!-- figure: ([\w-]+) -->)(.*?)(<!-- /figure -->)", re.DOTALL)
_PEERS = {
    "proxtune": "proxtune",
    "trainer": "Trainer",
    "trainer-lora": "Trainer + LoRA",
    "trainer-lora-checkpointing": "Trainer + LoRA, checkpointing",
    "accelerate": "accelerate",
}


def pages() -> list[Path]:
    """The pages that figures stand on."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def filled(text: str) -> str:
    """`text` with every figure in it as the code and the records have it now. Raises LookupError for an unknown one."""
    return _MARKED.sub(lambda found: found[1] + FIGURES[found[2]]() + found[4], text)


def constant(name: str, key: str = "") -> Any:
    """The literal that the package gives to `name`, wherever it is; `key` chooses from a dict. Raises LookupError."""
    values = [value for path in sorted(PACKAGE.rglob("*.py")) for value in _assigned(path, name)]
    if len(values) != 1:
        raise LookupError(f"{name} is given {len(values)} values in {PACKAGE}; docs/figures.py needs one")
    return values[0][key] if key else values[0]


def given(file: str, name: str) -> Any:
    """The literal that a file of the package gives to the keyword `name`: a task's trait, or a device's constant, which is there
    with its source. Raises LookupError."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    found = [node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == name]
    if len(found) != 1:
        raise LookupError(f"{name} is given {len(found)} times in {file}; docs/figures.py needs one")
    return ast.literal_eval(found[0].elts[0] if isinstance(found[0], ast.Tuple) else found[0])


def record(name: str) -> str:
    """The newest record of a benchmark: the text of NAME-DATE.md. Raises LookupError."""
    dated = re.compile(rf"{re.escape(name)}-\d{{4}}-\d\d-\d\d\.md")
    found = sorted(path for path in RECORDS.glob(f"{name}-*.md") if dated.fullmatch(path.name))
    if not found:
        raise LookupError(f"no record of {name} in {RECORDS}")
    return found[-1].read_text(encoding="utf-8")


def quoted(name: str, pattern: str) -> str:
    """What `pattern` captures in the newest record of a benchmark. Raises LookupError."""
    found = re.search(pattern, record(name), re.MULTILINE)
    if not found:
        raise LookupError(f"the record of {name} has nothing like {pattern}")
    return found[1]


def cell(name: str, row: str, column: str) -> str:
    """The cell of a row and a column in the newest record of a benchmark. Raises LookupError."""
    head: list[str] = []
    for line in record(name).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == row and column in head:
            return cells[head.index(column)]
        head = cells if line.startswith("|") and not head else head if line.startswith("|") else []
    raise LookupError(f"the record of {name} has no {column} of {row}")


def peers_table() -> str:
    """Points by memory limit and way, where others were run too."""
    rows = quoted("survival", r"#+ minilm-movies[^\n]*\n\n((?:\|[^\n]*\n)+)").splitlines()
    ways, *cells = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows if "---" not in row)
    lines = [["memory limit", *(_PEERS[way] for way in ways[1:])], ["---"] * len(ways)]
    lines += [[row[0], *(_points(cell) for cell in row[1:])] for row in cells if all(row)]
    return "\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n"


def _points(cell: str) -> str:
    found = re.search(r"([\d.]+) points", cell)
    return found[1] if found else "killed" if cell.startswith("killed") else cell


def _assigned(path: Path, name: str) -> Iterator[Any]:
    for node in _assignments(path):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            pairs: list[tuple[ast.expr, ast.expr | None]] = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):  # A, B = 1, 2
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            named = [value for left, value in pairs if isinstance(left, ast.Name) and left.id == name]
            yield from (ast.literal_eval(value) for value in named if value is not None)


@cache
def _assignments(path: Path) -> list[ast.Assign | ast.AnnAssign]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.AnnAssign)]


def _whole(name: str, key: str = "") -> Callable[[], str]:
    return lambda: f"{constant(name, key):,}"


def _percent(name: str) -> Callable[[], str]:
    return lambda: f"{100 * constant(name):g} %"


def _from(name: str, pattern: str) -> Callable[[], str]:
    return lambda: quoted(name, pattern)


def _first(name: str, row: str, column: str, digits: int = 0) -> Callable[[], str]:
    return lambda: f"{float(cell(name, row, column).split()[0]):.{digits}f}"


_CPU, _GENERATION = "memory/devices/cpu.py", "tasks/generation/task.py"
FIGURES: dict[str, Callable[[], str]] = {
    # constants
    "adafactor-loss": lambda: f"{constant('_ADAFACTOR_LOSS'):g}",
    "answer-lengthening": lambda: f"{constant('_LONGER'):g}",
    "batch": _whole("DEFAULT_BATCH"),
    "candidates-tried": _whole("_MANY_REFUSED"),
    "ending-seconds": lambda: f"{given(_CPU, 'ending_seconds'):g} seconds",
    "enough-tokens": lambda: f"{given(_GENERATION, 'micro_batch_tokens'):,}",
    "few-steps": lambda: f"{given(_GENERATION, 'few_steps')}",
    "least-batch": lambda: f"{given(_GENERATION, 'least_batch')}",
    "generating-batch": lambda: f"{given(_GENERATION, 'usual_batch')}",
    "growth-bytes": lambda: f"{given(_CPU, 'growth_bytes') / 1e6:g} MB",
    "growth-percent": lambda: f"{100 * (given(_CPU, 'growth_ratio') - 1):.0f} %",
    "header-bytes": lambda: f"{constant('MOST_HEADER_BYTES') / 1e6:g} MB",
    "header-tensors": _whole("MOST_TENSORS"),
    "head-share": _percent("_HEAD_SHARE"),
    "judged-answers": _whole("VALIDATION_ANSWERS"),
    "kernels-few": _whole("FEW"),
    "kernels-some": _whole("SOME"),
    "kernels-usual": _whole("USUAL"),
    "longest-row": _whole("LONGEST"),
    "most-new-tokens": _whole("_MOST_NEW_TOKENS"),
    "neighbours": _whole("_NEIGHBOURS"),
    "rank": lambda: str(constant("_RANKS")[0]),
    "rank-small": lambda: str(constant("_RANKS")[1]),
    "tight-slowdown": lambda: f"{given(_CPU, 'tight_slowdown'):g}",
    "time-share": _percent("_TIME_SHARE"),
    "traced-tokens": lambda: f"{given(_GENERATION, 'traced_tokens')}",
    "tries": _whole("_FIT_TRIES"),
    "validation-pairs": _whole("VALIDATION_PAIRS"),
    "validation-rows": _whole("VALIDATION_ROWS"),
    "validation-share": _percent("_VALIDATION_SHARE"),
    # records
    "neighbours-bf16": _first("neighbours", "bfloat16, 20 blocks", "neighbours / plain", 2),
    "neighbours-bf16-all": _first("neighbours", "bfloat16, 30 blocks", "neighbours / plain", 2),
    "neighbours-fp32": _first("neighbours", "float32, 20 blocks", "neighbours / plain", 2),
    "neighbours-fp32-all": _first("neighbours", "float32, 30 blocks", "neighbours / plain", 2),
    "neighbours-memory-bf16": _first("neighbours", "bfloat16, 20 blocks", "ratio", 2),
    "neighbours-memory-fp32": _first("neighbours", "float32, 20 blocks", "ratio", 2),
    "neighbours-mezo": _first("neighbours", "bfloat16, 20 blocks", "MeZO / plain", 2),
    "neighbours-mezo-all": _first("neighbours", "bfloat16, 30 blocks", "MeZO / plain", 2),
    "peers-date": _from("survival", r"^(\d{4}-\d\d-\d\d) ·"),
    "peers-table": peers_table,
    "prediction-median": _from("prediction", r"^Median error ([\d.]+)%"),
    "prediction-plans": _from("prediction", r"^Median error .* (\d+) plans"),
    "prediction-worst": _from("prediction", r"^Median error .* worst ([\d.]+)%"),
    "speed-least": _from("text-speed", r"^\| trainer, by length \|[^|]*\| [\d.]+ \(([\d.]+) to"),
    "speed-ours": _first("text-speed", "trainer", "ours / it, paired", 2),
    "text-prediction-median": _from("text-prediction", r"^Median error ([\d.]+)%"),
    "text-prediction-plans": _from("text-prediction", r"^Median error .* (\d+) plans"),
    "text-prediction-worst": _from("text-prediction", r"^Median error .* worst ([\d.]+)%"),
    "time-ours": _first("time-to-accuracy", "proxtune", "seconds"),
    "time-trainer": _first("time-to-accuracy", "trainer", "seconds"),
    "time-tuned": _first("time-to-accuracy", "trainer, tuned", "seconds"),
}


def main(arguments: list[str]) -> int:
    """Fill every page, or with `--check` say which are out of date."""
    stale = [path for path in pages() if filled(text := path.read_text(encoding="utf-8")) != text]
    for path in stale:
        sys.stderr.write(f"{path.relative_to(ROOT)} is out of date\n")
        if "--check" not in arguments:
            path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
