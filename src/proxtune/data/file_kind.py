"""What a file is by its first bytes, whatever it is called; and for what is no table of text, the way to one."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from proxtune.data.table import unreadable
from proxtune.errors import UserError

_HEAD = 4096  # bytes that are looked at
_MOST_NAMES = 10_000  # of the files in an archive
_TITLE = re.compile(r"<title[^>]*>(.{1,200}?)</title>", re.IGNORECASE | re.DOTALL)
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!doctype\s+html|<html)[\s>]", re.IGNORECASE)
_TITLE_SHOWN = 40  # characters

# Names of files of these kinds, which are never names of datasets on the hub.
SUFFIXES_OF_KINDS = (
    *(".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".7z", ".rar", ".tar", ".tgz"),
    *(".xlsx", ".xlsm", ".xls", ".docx", ".doc", ".pptx", ".ods", ".odt", ".pdf", ".rtf"),
    *(".db", ".sqlite", ".sqlite3", ".feather", ".npy", ".h5", ".avro", ".html", ".htm", ".txt"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKind:
    """What a file is, with its article, and what to do to have rows of it; `suffixes` are those by which it is read as it is."""

    name: str
    advice: str
    suffixes: tuple[str, ...] = ()


def _unpacked_with(command: str) -> str:
    return f"unpack it with `{command} < FILE > rows.csv` (or .tsv, .jsonl: by what is in it), and give that"


def _written_by(read: str) -> str:
    return f"`python -c \"import pandas; pandas.{read}('FILE').to_json('rows.jsonl', orient='records', lines=True)\"`"


def _from_pandas(read: str) -> str:
    return f"write JSON lines with {_written_by(read)}, and give that"


_ARCHIVE = "unpack it, and give the .csv, .tsv, .json, .jsonl or .parquet file that is in it"
_SHEET = "open it and save the sheet with the rows as CSV UTF-8 (.csv), and give that"
_DOCUMENT = "documents have no rows: copy the texts and their labels into a table, and save that as CSV UTF-8"
_SPREADSHEET = FileKind(name="an OpenDocument spreadsheet", advice=_SHEET)
_ZIP = FileKind(name="a ZIP archive", advice=_ARCHIVE)
_HTML = "what was saved is a page about the file, a login or an error: download the file itself, by its raw or download link"

_SIGNATURES: tuple[tuple[bytes, FileKind], ...] = (
    (b"\x1f\x8b", FileKind(name="compressed with gzip", advice=_unpacked_with("gunzip"))),
    (b"\xfd7zXZ\x00", FileKind(name="compressed with xz", advice=_unpacked_with("unxz"))),
    (b"\x28\xb5\x2f\xfd", FileKind(name="compressed with Zstandard", advice=_unpacked_with("unzstd"))),
    (b"\x04\x22\x4d\x18", FileKind(name="compressed with LZ4", advice=_unpacked_with("unlz4"))),
    (b"7z\xbc\xaf\x27\x1c", FileKind(name="a 7-Zip archive", advice=_ARCHIVE)),
    (b"Rar!\x1a\x07", FileKind(name="a RAR archive", advice=_ARCHIVE)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileKind(name="an Office file (.xls or .doc)", advice=_SHEET)),
    (b"%PDF-", FileKind(name="a PDF document", advice=_DOCUMENT)),
    (b"{\\rtf", FileKind(name="a rich-text document (RTF)", advice=_DOCUMENT)),
    (
        b"SQLite format 3\x00",
        FileKind(
            name="an SQLite database",
            advice="write a table of it with `sqlite3 -header -csv FILE 'select * from TABLE' > rows.csv`, and give that",
        ),
    ),
    (
        b"PAR1\x15",  # a header of a table may begin with the letters alone
        FileKind(
            name="a Parquet file",
            advice=f"rename it to end in .parquet, or write JSON lines with {_written_by('read_parquet')}",
            suffixes=(".parquet",),
        ),
    ),
    (
        b"ARROW1\x00\x00",
        FileKind(
            name="an Arrow (Feather) file",
            advice=f"rename it to end in .arrow, or write JSON lines with {_written_by('read_feather')}",
            suffixes=(".arrow",),
        ),
    ),
    (b"\xff\xff\xff\xff", FileKind(name="an Arrow stream", advice="rename it to end in .arrow", suffixes=(".arrow",))),
    (b"FEA1\x00", FileKind(name="a Feather file", advice=_from_pandas("read_feather"))),
    (b"\x93NUMPY", FileKind(name="a NumPy array", advice="write its rows as CSV or JSON lines, with a header")),
    (b"\x89HDF\r\n\x1a\n", FileKind(name="an HDF5 file", advice=_from_pandas("read_hdf"))),
    (b"Obj\x01", FileKind(name="an Avro file", advice="write its records as JSON lines, and give that")),
    (
        b"version https://git-lfs.github.com/spec/",
        FileKind(
            name="a Git LFS pointer, not the data itself",
            advice="run `git lfs install` once and `git lfs pull` in that repository to have the data",
        ),
    ),
)
_BZIP2 = FileKind(name="compressed with bzip2", advice=_unpacked_with("bunzip2"))
_TAR = FileKind(name="a tar archive", advice=_ARCHIVE)
_PICKLE = FileKind(
    name="pickled",
    advice="pickled files can run code, so they are never loaded: ask for it as .jsonl or .csv",
)
_IN_OFFICE = {
    "xl/": FileKind(name="an Excel workbook", advice=_SHEET),
    "word/": FileKind(name="a Word document", advice=_DOCUMENT),
    "ppt/": FileKind(name="a PowerPoint presentation", advice=_DOCUMENT),
}


def check_kind(path: Path) -> None:
    """Raises UserError where `path` is, by its bytes, a file of a known kind that its suffix does not say."""
    kind = find_kind(path)
    if kind is not None and path.suffix.lower() not in kind.suffixes:
        raise UserError(f"{path}: it is {kind.name}; {kind.advice}")


def find_kind(path: Path) -> FileKind | None:
    """What a file is by its bytes; None for text, and for what is not known. Raises UserError where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise unreadable(path, error) from None
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _in_zip(path, head)
    if _PAGE.match(head):
        return FileKind(name=f"a web page{_titled(head)}", advice=_HTML)
    if head[:3] == b"BZh" and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):  # a text may begin with the letters alone
        return _BZIP2
    if head[257:262] == b"ustar":
        return _TAR
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:  # the protocols that begin with a mark
        return _PICKLE
    return next((kind for mark, kind in _SIGNATURES if head.startswith(mark)), None)


def _in_zip(path: Path, head: bytes) -> FileKind:
    """What a ZIP archive holds: office programs write their files as such."""
    if b"mimetypeapplication/vnd.oasis.opendocument." in head:  # the format has it first, and never packed
        return _SPREADSHEET if b"opendocument.spreadsheet" in head else FileKind(
            name="an OpenDocument file", advice=_DOCUMENT
        )  # fmt: skip
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:_MOST_NAMES]
    except Exception:  # cut off or damaged, in whatever way: what its beginning says is enough
        names = [folder for folder in _IN_OFFICE if folder.encode() in head]
    return next((kind for folder, kind in _IN_OFFICE.items() if any(n.startswith(folder) for n in names)), _ZIP)


def _titled(head: bytes) -> str:
    """The title of a page, which often says why it is one."""
    found = _TITLE.search(head.decode("utf-8", "replace"))
    title = "" if found is None else " ".join(found[1].split())
    return f" called {title[:_TITLE_SHOWN]!r}" if title else ""
