"""Lines of a text file: their ends kept, and what is said of files that are no text."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.data.table import empty_file, text_lines, unreadable
from support.files import Write, refusal


def lines_of(path: Path) -> list[str]:
    return list(text_lines(path))


@settings(max_examples=50)
@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).filter(lambda text: text[:1] != "\ufeff")
)
def test_nothing_is_lost_between_lines(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    path.write_bytes(text.encode())
    assert "".join(text_lines(path)) == text


def test_a_byte_order_mark_is_skipped_and_ends_are_kept(write: Write) -> None:
    assert lines_of(write("a.txt", b"\xef\xbb\xbfone\r\ntwo\nthree")) == ["one\r\n", "two\n", "three"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"text,label\nx,a\ncaf\xe9,b\n",
            "not UTF-8 at byte 18 (line 3); convert it, for example with `iconv -f latin1 -t utf-8`",
        ),
        (b"a" * 100_000 + b"\n\xff", "not UTF-8 at byte 100001 (line 2)"),
        ("text,label\nx,a\n".encode("utf-16"), "is UTF-16, not UTF-8; convert it with `iconv -f utf-16 -t utf-8`"),
        (b"one\nx\0y\n", "line 2: holds a NUL byte"),
    ],
    ids=["latin-1", "beyond a buffer", "UTF-16", "NUL"],
)
def test_what_is_no_text_is_told_with_its_place(write: Write, content: bytes, says: str) -> None:
    assert says in refusal(lines_of, write("a.txt", content))


def test_a_file_that_may_not_be_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.txt", "one\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, whom no mode stops
    assert "permission denied; allow reading" in refusal(lines_of, path)


def test_what_the_system_says_is_passed_on() -> None:
    assert "cannot be read (Input/output error)" in str(unreadable(Path("a"), OSError(5, "Input/output error")))
    assert "cannot be read (OSError)" in str(unreadable(Path("a"), OSError()))
    assert "the file is empty" in str(empty_file(Path("a")))
