"""Registries: what is built in, what packages add, and what is said of one that cannot be loaded."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from proxtune.config import plugins
from proxtune.config.plugins import Registry
from support.files import refusal

GROUP = "proxtune.colours"
COLOURS: Registry[object] = Registry(
    kind="colour", group=GROUP, built_in={"red": "proxtune_colours:RED", "blue": "proxtune_colours:BLUE"}
)


@pytest.fixture(autouse=True)
def packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """The entry points that installed packages have; a test adds to them before it asks."""
    module = ModuleType("proxtune_colours")
    vars(module).update(RED="#f00", BLUE="#00f", GREEN="#0f0")
    monkeypatch.setitem(sys.modules, "proxtune_colours", module)
    installed: list[EntryPoint] = []
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry for entry in installed if entry.group == group])
    for cached in (plugins._added, plugins._imported):
        cached.cache_clear()
    yield installed
    for cached in (plugins._added, plugins._imported):
        cached.cache_clear()


def added(name: str, value: str, group: str = GROUP) -> EntryPoint:
    return EntryPoint(name, value, group)


def test_what_is_built_in_is_found_by_name_in_its_order() -> None:
    assert COLOURS.names() == ("red", "blue")
    assert COLOURS.find("red") == "#f00"
    assert COLOURS.all() == {"red": "#f00", "blue": "#00f"}


def test_what_is_built_in_is_imported_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "proxtune_colours", None)
    assert COLOURS.names() == ("red", "blue")
    with pytest.raises(ImportError):
        COLOURS.find("red")


def test_packages_add_to_it_behind_what_is_built_in(packages: list[EntryPoint]) -> None:
    packages += [added("white", "proxtune_colours:RED"), added("green", "proxtune_colours:GREEN")]
    packages += [added("sky", "proxtune_colours:BLUE", "proxtune.weather")]
    assert COLOURS.names() == ("red", "blue", "green", "white")
    assert COLOURS.all()["green"] == "#0f0"


def test_a_package_cannot_take_over_a_name_that_is_built_in(packages: list[EntryPoint]) -> None:
    packages.append(added("red", "proxtune_colours:GREEN"))
    assert COLOURS.names() == ("red", "blue")
    assert COLOURS.find("red") == "#f00"


def test_an_unknown_name_is_refused_with_those_there_are(packages: list[EntryPoint]) -> None:
    packages.append(added("green", "proxtune_colours:GREEN"))
    assert refusal(COLOURS.find, "pink") == "unknown colour 'pink'; choose one of red, blue, green"


@pytest.mark.parametrize("value", ["proxtune_no_such_package:X", "proxtune_colours:NONE"])
def test_a_package_that_cannot_be_loaded_is_named(packages: list[EntryPoint], value: str) -> None:
    packages.append(added("green", value))
    message = refusal(COLOURS.find, "green")
    assert message.startswith(f"cannot load colour 'green' from package {value} (")
    assert "update or uninstall that package" in message
    assert COLOURS.find("red") == "#f00", "the others are not harmed"
