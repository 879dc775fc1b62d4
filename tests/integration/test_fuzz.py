"""Five hundred of the files that `make bench-fuzz` draws: read, or refused in a sentence, in time and in memory."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import fuzz


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(fuzz.files)
def test_any_file_is_read_or_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[str, bytes]
) -> None:
    suffix, content = file
    path = tmp_path_factory.getbasetemp() / f"fuzz.{suffix}"
    path.write_bytes(content)
    assert fuzz.try_file(path).faults == ()
