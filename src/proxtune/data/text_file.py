"""A text file as lines, in the encoding that it has: UTF-8, UTF-16, UTF-32 or Windows-1252; any other is refused."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TextIO

from proxtune.data.table import unreadable
from proxtune.errors import UserError

_CHUNK = 1 << 20  # bytes
_HEAD = 4096  # bytes in which UTF-16 without a mark is looked for
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
_FEW_NULS, _NUL_SHARE = 10, 0.001  # with more than both the file is no text, or a part of it was never written
_BLOCK, _ENOUGH = 1 << 16, 200_000  # bytes looked at together, and letters beyond ASCII that are enough to judge by
_BROKEN = re.compile("[\udc80-\udcff]")  # bytes that are no UTF-8, as Python escapes them
_MIXED = 0.01  # share of the lines beyond ASCII that are UTF-8, from which on the file is in two encodings
# What two letters or signs of Windows-1252 hardly ever make: "ß…" and "Ó”" happen to be UTF-8 as well, "Ã©" is not written.
_SURELY_UTF8 = re.compile("[\xa0-\u017f\u0380-\u03ff\u0400-\u045f\u05d0-\u05ea\u0620-\u064a\u0800-\U0010ffff]")
_MOST_ODD = 0.1  # share of the letters beyond ASCII that may look wrong in Windows-1252

# What Windows-1252 has at 80 to 9F, where Latin-1 has control characters that no text uses.
_WINDOWS = {code: bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0xA0) if code != 0x85}
_CONTROLS = re.compile(rb"\xc2[\x80-\x84\x86-\x9f]")
_LOWER, _UPPER = "a-zß-öø-ÿœšž", "À-ÖØ-ÞŒŠŽŸ"
_SIGNS = "‘’“”–—…•·´€£«»¡¿\xa0\xad°§©®™"  # stand beside one another, or between letters
# What a text in another encoding looks like when it is taken for Windows-1252.
_RUN = re.compile(r"[^\x00-\x7f]{4,}")  # Cyrillic, Greek, Chinese: nothing of ASCII in a word
_ODD = (
    re.compile(rf"(?<=[{_LOWER}])[{_UPPER}]"),  # Mac OS Roman, DOS: a capital after a small letter
    re.compile(rf"(?<=[a-zA-Z])[^\x00-\x7f{_LOWER}{_UPPER}{_SIGNS}](?=[a-zA-Z])"),  # Polish, DOS: a sign inside a word
)
_WORD = re.compile(r"\S*[^\x00-\x7f]\S*")


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file with its encoding, and what is worth saying of that."""

    path: Path
    encoding: str
    notes: tuple[str, ...] = ()
    has_controls: bool = False  # Windows-1252 that was converted as if it were Latin-1
    has_nuls: bool = False  # a few bytes that are zero, which are left out

    def lines(self) -> Iterator[str]:
        """Lines with their ends, without a byte-order mark. Raises UserError where it turns out to be no text."""
        return self._read(lambda file: file)

    def pieces(self) -> Iterator[str]:
        """The same text in pieces of like size, whatever its lines. Raises UserError."""
        return self._read(lambda file: iter(lambda: file.read(_CHUNK), ""))

    def _read(self, parts: Callable[[TextIO], Iterable[str]]) -> Iterator[str]:
        line = 1
        try:
            with self.path.open(encoding=self.encoding, newline="") as file:
                for part in map(_without_nuls, parts(file)) if self.has_nuls else parts(file):
                    if "\0" in part:
                        line += part.count("\n", 0, part.index("\0"))
                        advice = "give a text file, or take the bytes out, for example with `tr -d '\\000'`"
                        raise UserError(f"{self.path} line {line}: holds NUL bytes; {advice}")
                    yield part.translate(_WINDOWS) if self.has_controls else part
                    line += part.count("\n")
        except UnicodeError as error:
            name = self.encoding.upper()
            raise UserError(f"{self.path}: damaged {name} ({error.args[-1]}); write the file again") from None
        except OSError as error:
            raise unreadable(self.path, error) from None


def open_text(path: Path) -> TextFile:
    """The file with the encoding that it has, which takes a look at all of it. Raises UserError for one that is unknown."""
    file = _in_its_encoding(path)
    if file.encoding not in ("utf-8-sig", "cp1252"):  # where zeros are a part of every letter
        return file
    try:
        nuls = _count_nuls(path)
    except OSError as error:
        raise unreadable(path, error) from None
    if not nuls or nuls > max(_FEW_NULS, _NUL_SHARE * path.stat().st_size):
        return file
    told = (
        "1 NUL byte, which belongs in no text, is" if nuls == 1 else f"{nuls:,} NUL bytes, which belong in no text, are"
    )
    return replace(file, notes=(*file.notes, f"{told} left out"), has_nuls=True)


def _without_nuls(text: str) -> str:
    return text.replace("\0", "")


def _count_nuls(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(0) for chunk in iter(lambda: file.read(_CHUNK), b""))


def _in_its_encoding(path: Path) -> TextFile:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            marked = next((name for mark, name in _MARKS if head.startswith(mark)), None) or _unmarked_utf16(head)
            if marked is not None and marked != "utf-8-sig":
                return TextFile(path, marked, (f"read as {marked.upper()}",))
            file.seek(0)
            decoder = codecs.getincrementaldecoder("utf-8-sig")()
            controls = 0
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
                controls += 0 if chunk.isascii() else len(_CONTROLS.findall(chunk))
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return _windows_1252(path)
    except OSError as error:
        raise unreadable(path, error) from None
    if not controls:
        return TextFile(path, "utf-8-sig")
    told = "control characters are read as the quotes, dashes and signs that Windows-1252 has in their places"
    return TextFile(path, "utf-8-sig", (f"{controls:,} {told}",), has_controls=True)


def _unmarked_utf16(head: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of most texts is zero."""
    half = len(head) // 2
    zeros = [head[place::2].count(0) for place in (0, 1)]
    if half >= 2 and max(zeros) > 0.6 * half and min(zeros) < 0.1 * half:
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    return None


def _windows_1252(path: Path) -> TextFile:
    """The file as one in Windows-1252. Raises UserError where it looks like anything else, by its first letters beyond ASCII."""
    whole = broken = letters = odd = 0
    example = ""
    utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    with path.open("rb") as file:
        while letters < _ENOUGH and (block := file.read(_BLOCK)):
            if block.isascii():
                continue
            as_utf8 = utf8.decode(block)
            kept = _BROKEN.sub("", as_utf8)
            broken += len(as_utf8) - len(kept)
            whole += len(kept) - len(kept.encode("ascii", "ignore"))
            try:
                text = block.decode("cp1252")
            except UnicodeDecodeError:
                odd = letters = 1  # it has a byte that Windows-1252 has not
                break
            letters += len(text) - len(text.encode("ascii", "ignore"))
            odd += _odd_letters(text)
            example = example or _example(text)
    lines = _count_lines(path)
    if whole > broken or (lines.utf8 and lines.utf8 >= _MIXED * (lines.utf8 + lines.other)):
        raise UserError(f"{path}: {lines}")
    if odd > _MOST_ODD * letters:
        advice = (
            "convert it from the encoding that it has, for example with `iconv -f windows-1251 -t utf-8` from Cyrillic"
        )
        raise UserError(f"{path}: not UTF-8 at {lines.first}, nor Windows-1252; {advice}")
    told = f"not UTF-8, so read as Windows-1252 (Western European), for example {example!r}"
    notes = [f"{told}; if that looks wrong, convert the file with `iconv`"]
    if lines.utf8:
        looks = "1 line looks" if lines.utf8 == 1 else f"{lines.utf8:,} lines look"
        notes.append(
            f"{looks} like UTF-8 all the same (the first is line {lines.first_utf8}): check what is read there"
        )
    return TextFile(path, "cp1252", tuple(notes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lines:
    """How many lines with characters beyond ASCII are UTF-8, how many are not, and where the first of each are."""

    utf8: int
    other: int
    first_utf8: int  # line
    first: str  # the place of the first byte that is not UTF-8

    def __str__(self) -> str:
        begins = f"not UTF-8 at {self.first}, though other characters are"
        if self.other <= 1:
            return f"{begins}; fix that line"
        if not self.utf8:
            return f"{begins}, in the same lines; fix these {self.other:,} lines"
        counted = f"of the lines with letters or signs beyond ASCII {self.utf8:,} are UTF-8 and {self.other:,} are not"
        return f"{begins}: {counted}, as where two files were joined; convert each to UTF-8 with `iconv` before you join them"


def _count_lines(path: Path) -> _Lines:
    utf8 = other = first_utf8 = number = offset = 0
    first = "its end"
    with path.open("rb") as file:
        for line in chain.from_iterable(whole.splitlines(keepends=True) for whole in file):
            number += 1
            if not line.isascii():
                try:
                    is_sure = _SURELY_UTF8.search(line.decode("utf-8")) is not None
                except UnicodeDecodeError as error:
                    first = first if other else f"byte {offset + error.start} (line {number})"
                    other += 1
                else:
                    first_utf8 = first_utf8 or (number if is_sure else 0)
                    utf8 += is_sure
            offset += len(line)
    return _Lines(utf8=utf8, other=other, first_utf8=first_utf8, first=first)


def _odd_letters(text: str) -> int:
    """Letters and signs that look like those of another encoding."""
    runs = sum(len(run[0]) for run in _RUN.finditer(text) if run[0].strip(_SIGNS))
    return runs + sum(1 for pattern in _ODD for _ in pattern.finditer(text))


def _example(text: str) -> str:
    """The first word with a letter or sign beyond ASCII, or its beginning."""
    found = _WORD.search(text)
    return found.group()[:30] if found else ""
