"""Files of a test's own, and the message of a refusal."""

from collections.abc import Callable
from pathlib import Path

import pytest

from proxtune.errors import UserError

Write = Callable[[str, str | bytes], Path]  # the fixture `write`: a name and its content → the file


def refusal(work: Callable[..., object], *given: object, **options: object) -> str:
    """The one line with which `work(*given, **options)` tells the user that it cannot be done."""
    with pytest.raises(UserError) as caught:
        work(*given, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message
