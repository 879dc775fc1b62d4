"""A finished run for the check of export formats."""

import pytest

from support.run_folders import finished_run


@pytest.fixture
def run_dir(tmp_path, tiny_chat):
    """A run folder with a model and its card."""
    return finished_run(tmp_path / "run", tiny_chat)
