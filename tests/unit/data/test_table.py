"""What is said of files that cannot be opened, or have nothing in them."""

from pathlib import Path

from proxtune.data.table import empty_file, unreadable


def test_what_the_system_says_is_passed_on() -> None:
    assert "cannot be read (Input/output error)" in str(unreadable(Path("a"), OSError(5, "Input/output error")))
    assert "cannot be read (OSError)" in str(unreadable(Path("a"), OSError()))
    assert "the file is empty" in str(empty_file(Path("a")))
