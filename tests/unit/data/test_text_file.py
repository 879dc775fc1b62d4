"""Text files of every encoding that people have: read as what they are, or told what they are not."""

import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.data.text_file import TextFile, open_text
from proxtune.errors import UserError
from support.files import Write, refusal


def lines_of(path: Path) -> list[str]:
    return list(open_text(path).lines())


@settings(max_examples=50)
@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs", "Cc"])).filter(
        lambda text: text[:1] != "\ufeff"
    )
)
def test_nothing_is_lost_between_lines(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    path.write_bytes(text.encode())
    for codec in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes(text.encode(codec))
        assert "".join(open_text(path).lines()) == "".join(open_text(path).pieces()) == text


def test_a_byte_order_mark_is_skipped_and_ends_are_kept(write: Write) -> None:
    assert lines_of(write("a.txt", b"\xef\xbb\xbfone\r\ntwo\nthree")) == ["one\r\n", "two\n", "three"]


ROWS = "text,label\nthe café at the corner,a\nnothing to say here,b\n"


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf_16_and_32_are_read_and_said(write: Write, codec: str) -> None:
    file = open_text(write("a.csv", ROWS.encode(codec)))
    assert "".join(file.lines()) == ROWS
    assert file.notes == (f"read as {codec.upper()}",)


@pytest.mark.parametrize(
    "text",
    [
        "that is “fine” – for 5 €, no?",
        "voilà, le cœur de l’été: « créé » à Noël…",
        "Größe, Straße, ÜBERALL, Äpfel",
        "não, ação, coração; ¿qué? ¡mañana!",
        "œuvre – ŒUVRE … 10 £",
        "þýða og lesa, það er gott að vera hér",
        "žluťoučký".replace("ť", "t").replace("č", "c"),
    ],
)
def test_windows_1252_is_read_without_mojibake_and_said(write: Write, text: str) -> None:
    file = open_text(write("a.csv", f"text,label\n{text},a\nplain,b\n".encode("cp1252")))
    assert list(file.lines())[1] == f"{text},a\n"
    assert "not UTF-8, so read as Windows-1252 (Western European), for example " in file.notes[0]


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("это хороший фильм, я смотрел его дважды", "cp1251"),
        ("это хороший фильм, я смотрел его дважды", "koi8-r"),
        ("αυτή είναι μια καλή ταινία", "cp1253"),
        ("这是一部好电影", "gbk"),
        ("これは良い映画です", "shift-jis"),
        ("un film très réussi, à voir absolument cet été", "mac-roman"),
        ("un film très réussi, à voir absolument cet été, où elle chante", "cp850"),
        ("to był wspaniały, długi i piękny film, który się kończy źle", "cp1250"),
    ],
)
def test_other_encodings_are_not_taken_for_it(write: Write, text: str, codec: str) -> None:
    message = refusal(open_text, write("a.csv", f"text,label\n{text},a\n".encode(codec)))
    assert "not UTF-8 at byte 1" in message or "not UTF-8 at byte 2" in message
    assert "(line 2), nor Windows-1252; convert it from the encoding that it has" in message


def test_one_bad_line_in_utf_8_is_told_with_its_place(write: Write) -> None:
    message = refusal(open_text, write("a.csv", "text,label\nÖl, Öl, Öl,a\n".encode() + b"caf\xe9,b\n"))
    assert "not UTF-8 at byte 30 (line 3), though other characters are; fix that line" in message


def test_windows_1252_that_was_converted_as_latin_1_is_put_right(write: Write) -> None:
    right = "that is “fine” – 5 €\n"
    file = open_text(write("a.txt", right.encode("cp1252").decode("latin-1").encode()))
    assert "".join(file.lines()) == right
    assert file.notes[0].startswith("4 control characters are read as the quotes, dashes and signs")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"one\nx\0y\n", "1 NUL byte, which belongs in no text, is left out"),
        (b"one\n\0\0xy\n", "2 NUL bytes, which belong in no text, are left out"),
    ],
)
def test_a_few_nul_bytes_are_left_out_and_counted(write: Write, content: bytes, told: str) -> None:
    file = open_text(write("a.txt", content))
    assert list(file.lines()) == ["one\n", "xy\n"]
    assert "".join(file.pieces()) == "one\nxy\n"
    assert file.notes == (told,)
    assert open_text(write("b.txt", "café\0\n".encode("cp1252"))).notes[1:] == (
        "1 NUL byte, which belongs in no text, is left out",
    )


def test_a_file_that_is_zeros_in_part_is_refused_with_the_line(write: Write) -> None:
    path = write("a.txt", b"one\nx" + bytes(100) + b"y\n")
    assert "line 2: holds NUL bytes" in refusal(lines_of, path)
    assert "line 2: holds NUL bytes" in refusal(lambda: list(open_text(path).pieces()))


def test_a_damaged_utf_16_file(write: Write) -> None:
    assert "damaged UTF-16 (" in refusal(lines_of, write("a.txt", "some text".encode("utf-16")[:-1]))


def test_a_file_that_may_not_be_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.txt", "one\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, whom no mode stops
    assert "permission denied; allow reading" in refusal(open_text, path)


def test_what_it_says_of_itself() -> None:
    assert TextFile(Path("a"), "utf-8").notes == ()


@pytest.mark.parametrize("piece", ["“", "ż“", "łż", "л", "…a"])
def test_the_look_at_a_large_file_is_quick(write: Write, piece: str) -> None:
    path = write("a.txt", (piece * 300_000).encode("cp1251" if piece == "л" else "cp1250"))
    began = time.process_time()
    with contextlib.suppress(UserError):  # where it is told from Windows-1252
        open_text(path)
    assert time.process_time() - began < 2


def joined(utf8: int, windows: int) -> bytes:
    """Two exports put together, the first in UTF-8."""
    lines = [b"text,label\n", *["déjà vu, été,a\n".encode()] * utf8]
    return b"".join([*lines, b"plain,b\n", *["déjà vu, été,b\n".encode("cp1252")] * windows])


@pytest.mark.parametrize(("utf8", "windows"), [(3, 3), (3, 200), (200, 3), (1, 60), (2000, 2000)])
@pytest.mark.parametrize("last", [False, True])
def test_two_exports_joined_are_refused_with_how_many_lines_are_of_each(
    write: Write, utf8: int, windows: int, last: bool
) -> None:
    content = joined(utf8, windows)
    head, *rest = content.splitlines(keepends=True)
    content = b"".join([head, *reversed(rest)]) if last else content
    message = refusal(open_text, write("a.csv", content))
    line = 2 if last else utf8 + 3
    assert f"(line {line}), though other characters are: of the lines" in message
    assert f"beyond ASCII {utf8:,} are UTF-8 and {windows:,} are not, as where two files were joined" in message


def test_utf_8_joined_to_another_encoding_is_not_told_to_convert_all_of_it(write: Write) -> None:
    text = "это хороший фильм, я смотрел его дважды\n"
    message = refusal(open_text, write("a.csv", text.encode() * 4 + text.encode("cp1251") * 5))
    assert "4 are UTF-8 and 5 are not" in message


def test_old_line_ends_are_lines_too(write: Write) -> None:
    message = refusal(open_text, write("a.csv", joined(3, 4).replace(b"\n", b"\r")))
    assert "(line 6), though" in message
    assert "3 are UTF-8 and 4 are not" in message


def test_lines_that_are_half_and_half(write: Write) -> None:
    line = "Öl, Öl, Öl, ".encode() + b"caf\xe9\n"
    assert "though other characters are, in the same lines; fix these 2 lines" in refusal(
        open_text, write("a.csv", line * 2)
    )


@pytest.mark.parametrize("ending", ["heiß…", "ES PASÓ”", "wie heiß–"])
def test_windows_1252_that_happens_to_be_utf_8_in_a_line_is_read(write: Write, ending: str) -> None:
    text = "text,label\n" + "voilà, «été»,a\n" * 3 + f"{ending},b\n"
    file = open_text(write("a.csv", text.encode("cp1252")))
    assert ("".join(file.lines()), len(file.notes)) == (text, 1)


def test_a_line_in_hundreds_that_looks_like_utf_8_is_noted(write: Write) -> None:
    text = b"text,label\n" + "voilà,a\n".encode("cp1252") * 200
    file = open_text(write("a.csv", text + "déjà,b\n".encode()))
    assert file.encoding == "cp1252"
    assert file.notes[1] == "1 line looks like UTF-8 all the same (the first is line 202): check what is read there"
