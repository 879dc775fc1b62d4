"""Data in a file of its own for a test, and what reading it says when it is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from proxtune.errors import UserError
from proxtune.tasks.classification.reader import read_examples

Write = Callable[[str, str | bytes], Path]


def fails(source: Path | str, **options: object) -> str:
    """The line that tells the person why `source` cannot be read."""
    with pytest.raises(UserError) as caught:
        read_examples(str(source), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message
