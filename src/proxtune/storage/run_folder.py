"""The run folder: made once, never overwritten, with the recipe as `recipe.toml`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from proxtune.config.budget import Budget
from proxtune.config.recipe import Knobs, Recipe
from proxtune.errors import UserError
from proxtune.storage.atomic import write_text

_MOST_BYTES = 1_000_000


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write `recipe` as TOML, whole or not at all."""
    top, tables = [], []
    for key, value in recipe.as_dict().items():
        if isinstance(value, dict):
            if value:
                tables.append(f"\n[{key}]\n" + "".join(f"{k} = {_toml(v)}\n" for k, v in value.items()))
        else:
            top.append(f"{key} = {_toml(value)}\n")
    write_text(path, "".join(top + tables))


def _toml(value: object) -> str:
    # JSON's strings are TOML's, but for surrogate pairs and DEL
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_recipe(path: Path) -> Recipe:
    """The recipe that `write_recipe` wrote. Raises UserError for what it did not write."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} is too large for a recipe")
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        raw["budget"] = Budget(**raw.get("budget", {}))
        raw["knobs"] = Knobs(**raw.get("knobs", {}))
        return Recipe(**raw)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as a recipe: {error}") from error


def missing_parents(out: str) -> list[Path]:
    """The folders above `out` that have to be made for it, innermost first."""
    return [parent for parent in Path(out).absolute().parents if not parent.exists()]


def absolute(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).exists() else name


def claim_folder(out: str) -> Path:
    """Make the run folder; one that is there already is never touched."""
    folder = Path(out)
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UserError(f"the folder {out} already exists and is never overwritten; choose another --out") from error
    except OSError as error:
        raise UserError(f"the folder {out} cannot be created: {error.strerror}; choose another --out") from error
    return folder.resolve()
