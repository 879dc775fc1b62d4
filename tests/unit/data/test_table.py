"""What is said of files that cannot be opened, or have nothing in them."""

from pathlib import Path

from proxtune.data.table import Table, empty_file, unreadable
from support.files import refusal


def test_what_the_system_says_is_passed_on() -> None:
    assert "cannot be read (Input/output error)" in str(unreadable(Path("a"), OSError(5, "Input/output error")))
    assert "cannot be read (OSError)" in str(unreadable(Path("a"), OSError()))
    assert "the file is empty" in str(empty_file(Path("a")))


def test_of_two_columns_of_one_name_none_is_chosen_in_silence() -> None:
    table = Table({"text": ["a"], "text.1": ["b"], "label": ["x"]}, [2], repeated={"text": "text.1"})
    table.check_clear("rows.csv", "label", "text.1", None)
    words = refusal(table.check_clear, "rows.csv", "label", "text")
    assert words.startswith("rows.csv: two columns are called 'text', and they differ; rename one")
    assert "chosen as 'text.1'" in words
