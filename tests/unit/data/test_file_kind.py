"""Files that are no text: told by their bytes, whatever they are called, with the way to a file that is."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import pytest

from proxtune.data.file_kind import SUFFIXES_OF_KINDS, FileKind, check_kind, find_kind
from support.files import Write, refusal

ROWS = b"text,label\nx,a\ny,b\n"
SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow", ".txt", "")


def archive(*names: str, mimetype: str | None = None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        if mimetype is not None:
            made.writestr("mimetype", mimetype)
        for name in names:
            made.writestr(name, "<x/>" * 2000)
    return file.getvalue()


def database(path: Path) -> bytes:
    made = sqlite3.connect(path)
    made.execute("create table films (text, label)")
    made.commit()
    made.close()
    return path.read_bytes()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        made.addfile(tarfile.TarInfo("rows.csv"))
    return file.getvalue()


OPEN_SHEET = "application/vnd.oasis.opendocument.spreadsheet"
KINDS = [
    (gzip.compress(ROWS), "compressed with gzip; unpack it with `gunzip < FILE > rows.csv`"),
    (bz2.compress(ROWS), "compressed with bzip2; unpack it with `bunzip2 < FILE"),
    (bz2.compress(b""), "compressed with bzip2"),
    (lzma.compress(ROWS), "compressed with xz; unpack it with `unxz < FILE"),
    (b"\x28\xb5\x2f\xfd\x04\x00", "compressed with Zstandard; unpack it with `unzstd < FILE"),
    (archive("train.csv"), "a ZIP archive; unpack it, and give the .csv"),
    (archive(), "a ZIP archive"),
    (archive("train.csv")[:60], "a ZIP archive"),
    (archive("[Content_Types].xml", "docProps/app.xml", "xl/workbook.xml"), "an Excel workbook; open it and save"),
    (archive("[Content_Types].xml", "xl/workbook.xml")[:-30], "a ZIP archive"),
    (archive("xl/workbook.xml")[:-30], "an Excel workbook; open it and save the sheet with the rows as CSV UTF-8"),
    (archive("[Content_Types].xml", "word/document.xml"), "a Word document; documents have no rows"),
    (archive("[Content_Types].xml", "ppt/presentation.xml"), "a PowerPoint presentation"),
    (archive("content.xml", mimetype=OPEN_SHEET), "an OpenDocument spreadsheet; open it and save the sheet"),
    (archive("content.xml", mimetype="application/vnd.oasis.opendocument.text"), "an OpenDocument file; documents"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an Office file (.xls or .doc); open it and save the sheet"),
    (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document; documents have no rows"),
    (b"{\\rtf1\\ansi text}", "a rich-text document (RTF)"),
    (tarred(), "a tar archive; unpack it"),
    (pickle.dumps(["x"]), "pickled; pickled files can run code, so they are never loaded"),
    (b"\x93NUMPY\x01\x00", "a NumPy array"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file; write JSON lines with `python -c"),
    (b"FEA1\x00\x00\x00\x00", "a Feather file; write JSON lines with `python -c \"import pandas; pandas.read_feather('F"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "a Git LFS pointer, not the data"),
    (b"\xef\xbb\xbf\n <!DOCTYPE html>\n<head>\n<title>Sign in\n now</title>", "a web page called 'Sign in now'; what was"),
    (b"<HTML lang='en'><body>404</body></HTML>", "a web page; what was saved is a page about the file, a login"),
]  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_no_text_is_named_and_has_a_way_out(write: Write, suffix: str) -> None:
    for content, says in KINDS:
        path = write(f"rows{suffix}", content)
        assert refusal(check_kind, path).startswith(f"{path}: it is {says}")


def test_a_database(write: Write, tmp_path: Path) -> None:
    path = write("rows.csv", database(tmp_path / "films.db"))
    assert "an SQLite database; write a table of it with `sqlite3 -header -csv FILE" in refusal(check_kind, path)


def test_columnar_files_are_read_by_their_own_suffix_alone(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    feather, parquet = pytest.importorskip("pyarrow.feather"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"text": ["x"], "label": ["a"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    feather.write_feather(table, tmp_path / "b.arrow")
    with pa.ipc.new_stream(tmp_path / "c.arrow", table.schema) as stream:
        stream.write_table(table)
    for name, says in (
        ("a.parquet", "a Parquet file; rename it to end in .parquet, or write JSON lines with `python -c"),
        ("b.arrow", "an Arrow (Feather) file; rename it to end in .arrow, or write JSON lines"),
        ("c.arrow", "an Arrow stream; rename it to end in .arrow"),
    ):
        check_kind(tmp_path / name)
        other = ".arrow" if name.endswith(".parquet") else ".parquet"
        for suffix in (".csv", ".json", other):
            path = (tmp_path / name).rename(tmp_path / f"renamed{suffix}")
            assert f"it is {says}" in refusal(check_kind, path)
            path.rename(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"x", ROWS, b"\xef\xbb\xbf" + ROWS, "text,label\n".encode("utf-16"), "text,label\n".encode("utf-32"),
        b"PAR1,PAR2,label\n1,2,a\n", b"BZhe,text\n1,a\n", b"FEA1,label\n1,a\n", b"PK,text,label\n", b"[<html>]\n",
        b"<p>text</p>,label\n", b"<htmlish,label\n", "€,text\n".encode("cp1252"), b"version https://example.org,b\n",
    ],
)  # fmt: skip
def test_text_is_of_no_kind(write: Write, content: bytes) -> None:
    path = write("rows.csv", content)
    check_kind(path)
    assert find_kind(path) is None


def test_a_file_that_may_not_be_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.csv", ROWS)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, whom no mode stops
    assert "permission denied; allow reading" in refusal(check_kind, path)


def test_what_is_read_as_it_is_has_no_suffix_of_another_kind() -> None:
    assert not {".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow"} & set(SUFFIXES_OF_KINDS)
    assert FileKind(name="a thing", advice="save it as CSV").suffixes == ()
