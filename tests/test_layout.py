"""The layout of the source: a test file for each module, and each word only where it belongs. Every test lists the offenders."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "proxtune"
METHODS = {"lora", "nno", "probe", "layers", "full"}
TASKS = {"summarize", "translate", "instruct", "classify"}
KINDS_OF_TASK = {"generates", "have_answers", "GENERATIVE", "is_generative", "objective_of"}
UNTESTED = {"__init__.py", "__main__.py"}
VAGUE = {"util", "utils", "helper", "helpers", "manager", "common", "misc"}
MOST_MODULES = 15  # in a folder
MOST_POSITIONAL = 4  # arguments of a class of our own


@cache
def trees() -> dict[str, ast.Module]:
    """Each file's syntax tree, by its path in the package."""
    paths = sorted(SOURCE.rglob("*.py"))
    return {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


@cache
def every_node() -> list[tuple[str, ast.AST]]:
    """All nodes of all files with the file's path; docstrings are left out."""
    skipped = {path: docstrings(tree) for path, tree in trees().items()}
    return [(path, node) for path, tree in trees().items() for node in ast.walk(tree) if id(node) not in skipped[path]]


def nodes(outside: str | None = None) -> Iterator[tuple[str, ast.AST]]:
    """The nodes of all files but those in the folder `outside`."""
    return ((path, node) for path, node in every_node() if outside is None or not path.startswith(f"{outside}/"))


def docstrings(tree: ast.Module) -> set[int]:
    """The identities of a file's docstrings, those of attributes among them: text that no statement uses."""
    return {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def named(node: ast.AST) -> str | None:
    """The identifier that a node reads, binds or defines."""
    for kind, field in (
        (ast.Name, "id"), (ast.Attribute, "attr"), (ast.arg, "arg"), (ast.keyword, "arg"), (ast.alias, "name"),
        ((ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef), "name"),
    ):  # fmt: skip
        if isinstance(node, kind):
            found: str | None = getattr(node, field)
            return found
    return None


def strings(node: ast.AST | None) -> set[str]:
    """The text constants in an expression."""
    inner = ast.walk(node) if node is not None else ()
    return {each.value for each in inner if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def report(offenders: list[str]) -> str:
    return f"{len(offenders)} in src/proxtune:\n" + "\n".join(offenders)


def at(path: str, node: ast.AST) -> str:
    return f"  {path}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)[:100]}"


def test_every_module_has_a_test_file_of_its_name() -> None:
    wanted = {
        path: TESTS / "unit" / Path(path).parent / f"test_{Path(path).name}"
        for path in trees()
        if Path(path).name not in UNTESTED
    }
    missing = [
        f"  {path} needs {test.relative_to(TESTS.parent)}" for path, test in wanted.items() if not test.is_file()
    ]
    assert not missing, report(missing)


def test_every_unit_test_file_is_that_of_a_module() -> None:
    files = [path.relative_to(TESTS / "unit") for path in (TESTS / "unit").rglob("test_*.py")]
    modules = trees()
    strays = [
        f"  tests/unit/{path}" for path in files if str(path.parent / path.name.removeprefix("test_")) not in modules
    ]
    assert not strays, f"{len(strays)} files test no module of their name:\n" + "\n".join(sorted(strays))


def test_methods_are_named_only_where_they_are_made() -> None:
    found = [
        at(path, node)
        for path, node in nodes(outside="methods")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in METHODS
    ]
    assert not found, report(found)


def test_what_kind_a_task_is_of_is_asked_only_within_tasks() -> None:
    found = [at(path, node) for path, node in nodes(outside="tasks") if named(node) in KINDS_OF_TASK]
    assert not found, report(found)


def test_nothing_outside_tasks_compares_with_the_name_of_a_task() -> None:
    found = [
        at(path, node)
        for path, node in nodes(outside="tasks")
        if (isinstance(node, ast.Compare | ast.MatchValue) and strings(node) & TASKS)
    ]
    assert not found, report(found)


def test_cuda_is_known_only_to_the_devices() -> None:
    found = [
        at(path, node)
        for path, node in nodes(outside="memory/devices")
        if (isinstance(node, ast.Constant) and isinstance(node.value, str) and "cuda" in node.value.lower())
        or named(node) == "cuda"
    ]
    assert not found, report(found)


def test_no_name_stands_for_a_dict_of_anything() -> None:
    found = []
    for path, tree in trees().items():
        for node in tree.body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            if value is not None and ast.unparse(value).lower() in ("dict[str, any]", "mapping[str, any]"):
                found.append(at(path, node))
    found += [at(path, node) for path, node in nodes() if named(node) == "Record"]
    assert not found, report(found)


def test_no_one_asks_whether_there_is_a_size_constraint() -> None:
    found = [
        at(path, node)
        for path, node in nodes()
        if isinstance(node, ast.Call)
        and named(node.func) == "isinstance"
        and any(named(each) in ("SizeConstraint", "NoSizeConstraint") for arg in node.args for each in ast.walk(arg))
    ]
    assert not found, report(found)


def test_classes_of_our_own_are_built_by_keyword() -> None:
    own = {node.name for _, node in nodes() if isinstance(node, ast.ClassDef)} | {"cls"}
    found = [
        at(path, node)
        for path, node in nodes()
        if isinstance(node, ast.Call) and named(node.func) in own and len(node.args) > MOST_POSITIONAL
    ]
    assert not found, report(found)


def test_no_folder_is_crowded() -> None:
    modules = Counter(str(Path(path).parent) for path in trees() if Path(path).name not in UNTESTED)
    growing = {
        str(Path(path).parent) for path in trees() if Path(path).name == "registry.py"
    }  # a file for each plug-in
    crowded = [
        f"  {folder}: {count} modules"
        for folder, count in modules.items()
        if count > MOST_MODULES and folder not in growing
    ]
    assert not crowded, report(crowded)


def test_packages_import_nothing() -> None:
    """`import proxtune.x.y` costs what y imports, and no more.

    `samples` is one module with its data beside it, and `checks` is what the tests of other packages import.
    """
    modules = {"samples/__init__.py", "checks/__init__.py"}
    packages = [path for path in trees() if path.endswith("/__init__.py") and path not in modules]
    inits = [(path, trees()[path]) for path in packages]
    found = [at(path, node) for path, tree in inits for node in tree.body if not isinstance(node, ast.Expr)]
    assert not found, report(found)


@pytest.mark.parametrize("vague", sorted(VAGUE))
def test_no_module_has_a_name_that_says_nothing(vague: str) -> None:
    found = [f"  {path}" for path in trees() if vague in (Path(path).stem, Path(path).parent.name)]
    assert not found, report(found)
