"""CSV and TSV files: read back as written, with the line where each row begins, and what is wrong with the others."""

import csv
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxtune.data.readers.delimited import read_csv, read_tsv
from proxtune.data.table import Table
from support.files import Write, refusal

CONTROLS = "".join(map(chr, [0, *range(0x80, 0xA0)]))  # which no text has; those beyond ASCII are put right
cells = st.text(st.characters(exclude_characters=CONTROLS, exclude_categories=["Cs"]))
rows = st.lists(st.tuples(cells, cells), min_size=1, max_size=6)
FEW = settings(max_examples=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written")


def rows_of(table: Table) -> list[tuple[object, ...]]:
    return list(zip(*table.columns.values(), strict=True))


@FEW
@given(rows, st.sampled_from(["\n", "\r\n"]))
def test_csv_reads_back_as_written(folder: Path, rows: list[tuple[str, str]], end: str) -> None:
    path = folder / "round.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        # All quoted, as a writer that ends lines with "\n" leaves a text with "\r" unquoted.
        csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    table = read_csv(path)
    assert list(table.columns) == ["text", "label"]
    assert rows_of(table) == rows
    assert table.has_header


@FEW
@given(st.lists(st.tuples(cells.filter(lambda cell: "\t" not in cell), st.just("a")), min_size=1, max_size=6))
def test_tsv_reads_back_as_written(folder: Path, rows: list[tuple[str, str]]) -> None:
    path = folder / "round.tsv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([("text", "label"), *rows])
    assert rows_of(read_tsv(path)) == rows


@given(st.integers(1, 9), st.integers(1, 9))
def test_the_first_rows_are_those_of_the_whole(folder: Path, count: int, most: int) -> None:
    path = folder / "first.csv"
    path.write_text("text,label\n" + "".join(f"{n},a\n" for n in range(count)), encoding="utf-8")
    whole, first = read_csv(path), read_csv(path, most)
    assert rows_of(first) == rows_of(whole)[:most]
    assert first.lines == whole.lines[:most]


def test_lines_are_where_rows_begin(write: Write) -> None:
    table = read_csv(write("a.csv", '\ntext,label\r\n"two\nlines",a\r\n\r\nb,b\r\n"last, one",a'))
    assert (table.lines, table.columns["text"]) == ([3, 6, 7], ["two\nlines", "b", "last, one"])


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbftext,label\nx,a\n",
        b"text,label\rx,a\r",
        b"text;label\nx;a\n",
        b"text\tlabel\nx\ta\n",
        b"text,label\n\n  \nx,a\n\n",
        b" text , label \nx,a\n",
    ],
    ids=["byte-order mark", "old Mac", "semicolons", "tabs", "blank lines", "spaces in the header"],
)
def test_kinds_of_csv_that_people_have(write: Write, content: bytes) -> None:
    assert read_csv(write("a.csv", content)).columns == {"text": ["x"], "label": ["a"]}


def test_other_delimiters_are_noted(write: Write) -> None:
    assert read_csv(write("a.csv", "text;label\nx;a\n")).notes == ["columns are parted by semicolons, not commas"]
    assert read_csv(write("b.csv", "text,label\nx;y,a\n")).notes == []


def test_a_column_without_a_name_gets_one(write: Write) -> None:
    assert list(read_csv(write("a.csv", ",text\n1,x\n")).columns) == ["column 1", "text"]


def test_one_column_may_have_empty_cells(write: Write) -> None:
    assert read_csv(write("a.csv", 'text\nx\n""\n')).columns == {"text": ["x", ""]}


def test_a_tsv_that_quotes_nothing_keeps_its_rows_and_quotes(write: Write) -> None:
    path = write("a.tsv", 'text\tlabel\n"Good" film\ta\n"open\tb\nclose"\tb\n"whole"\ta\n"a ""b"" c"\ta\n')
    assert read_tsv(path).columns["text"] == ['"Good" film', '"open', 'close"', "whole", 'a "b" c']


def test_huge_fields_and_the_csv_limit_is_left_as_it_was(write: Write) -> None:
    before = csv.field_size_limit()
    assert len(str(read_csv(write("a.csv", f"text,label\n{'x' * 300_000},a\n")).columns["text"][0])) == 300_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "content", "text", "label", "note"),
    [
        ("a.csv", "sep=;\r\ntext;label\r\nx, y;a\r\n", "x, y", "a", "columns are parted by semicolons, not commas"),
        ("a.csv", "text|label\nx, y|a\n", "x, y", "a", "columns are parted by vertical bars, not commas"),
        ("a.csv", 'text|label\n"Good" film|a\n', '"Good" film', "a", "columns are parted by vertical bars, not commas"),
        ("a.tsv", 'text,label\n"x\ty",a\n', "x\ty", "a", "columns are parted by commas, not tabs"),
        ("a.csv", '"text, as written";label\nx;a\n', "x", "a", "columns are parted by semicolons, not commas"),
        ("a.csv", 'label, text\na, "x, y"\nb, "z"\n', "x, y", "a", None),
        ("a.csv", 'label, text\na, "x"\nb, "z"\n', "x", "a", None),
        ("a.csv", 'text,label\n"he said \\"x, y\\"",a\n"C:\\new",b\n', 'he said "x, y"', "a", None),
        ("a.csv", 'text,label\n"x, y",a,\n"z",b,\n', "x, y", "a", "every row ends in a delimiter"),
        ("a.csv", 'text,label\n"1","x, y",a\n"2",z,b\n', "x, y", "a", "every row begins with its number"),
        ("a.csv", "text,label,,\nx,a\ny,b\n", "x", "a", None),
        ("a.csv", 'text,label\r\n"one\r two",a\r\n', "one\r two", "a", None),
        ("a.csv", "text,label\ncafé – 5 €,a\n".encode("cp1252"), "café – 5 €", "a", "read as Windows-1252"),
        ("a.tsv", "text\tlabel\nx\ta\n".encode("utf-16"), "x", "a", "read as UTF-16"),
    ],
)  # fmt: skip
def test_dialects_of_other_places(
    write: Write, name: str, content: str | bytes, text: str, label: str, note: str | None
) -> None:
    table = (read_tsv if name.endswith("tsv") else read_csv)(write(name, content))
    columns = {column.split(",")[0]: cells for column, cells in table.columns.items()}
    assert (columns["text"][0], columns["label"][0]) == (text, label)
    assert ([] if note is None else [note]) == [note for said in table.notes if note is not None and note in said]
    assert len(table.notes) == (note is not None)


def test_a_backslash_that_escapes_no_quote_stays(write: Write) -> None:
    path = write("a.csv", 'text,label\n"he said \\"x\\" in C:\\new\\\\",a\n')
    assert read_csv(path).columns["text"] == ['he said "x" in C:\\new\\\\']


def test_many_columns_take_no_time(write: Write) -> None:
    names = ",".join(f"c{n}" for n in range(50_000))
    assert len(read_csv(write("a.csv", f"{names}\n{',' * 49_999}\n")).columns) == 50_000


@pytest.mark.parametrize("read", [read_csv, read_tsv])
def test_a_name_that_comes_again_gets_a_number_and_that_is_said(write: Write, read) -> None:
    mark = "," if read is read_csv else "\t"
    lines = ("text,text.1,label,text,text", "x,y,a,z,w")
    table = read(write("a.csv", "\n".join(lines).replace(",", mark)))
    assert list(table.columns) == ["text", "text.1", "label", "text.2", "text.3"]
    assert table.columns["text.2"] == ["z"]
    assert table.repeated == {"text": "text.2"}
    assert "two columns are called 'text': the second is read as 'text.2'" in table.notes


def test_a_column_that_is_there_twice_is_read_once(write: Write) -> None:
    table = read_csv(write("a.csv", "text,text,label\nx,x,a\ny,y,b\n"))
    assert table.columns == {"text": ["x", "y"], "label": ["a", "b"]}
    assert (table.repeated, table.notes) == ({}, ["column 'text' is there twice, cell for cell: it is read once"])


def test_thousands_of_columns_of_one_name_take_no_time(write: Write) -> None:
    table = read_csv(write("a.csv", f"{','.join('c' * 20_000)}\n{','.join(map(str, range(20_000)))}\n"))
    assert list(table.columns)[-1] == "c.19999"


@pytest.mark.parametrize(
    ("read", "content", "says"),
    [
        (read_csv, b"", "file is empty"),
        (read_csv, b"text,label\n", "header but no rows"),
        (read_csv, b"text,label\nx,a\ny,b,c\n", "line 3: 3 fields where the header has 2"),
        (read_csv, b"text,label\nx\n", "line 2: 1 field where"),
        (read_csv, b'text,label\nx,a\n"open,b\n', "line 3: broken quoting"),
        (read_tsv, b"text\tlabel\nx\ta\tb\n", "line 2: 3 fields"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(write: Write, read, content: bytes, says: str) -> None:
    assert says in refusal(read, write("a.csv", content))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('text,label\n"one\ntwo",a\n\nb,b\n\nc, d,a\n', "line 7: 3 fields where the header has 2"),
        ("text,label\none, two,a\nb,b\n", "line 2: 3 fields where the header has 2"),
        ('text,label\n\n"one\ntwo", three,a\nb,b\n', "line 3: 3 fields where the header has 2"),
        ("text,label\na, b,a\nc, d,b\ne,b\n", "line 2: 3 fields where the header has 2"),
        ("text,label\r\n\r\na, b,a\r\nc,b\r\n", "line 3: 3 fields where the header has 2"),
        ("sep=;\ntext;label\na; b;a\nc;b\n", "line 3: 3 fields where the header has 2"),
        ("id,text,label\n1,one, two,a\n2,b,b\n", "line 2: 4 fields where the header has 3"),
        ("text,label,note\n1,a\n2,b,c\n", "line 2: 2 fields where the header has 3"),
        ("text,label,,\na, b,a\nc,b,,\n", "line 2: 3 fields where the header has 4"),
        ("text,label\n1,a,a\n2,b,b\nc,b\n", "line 4: 2 fields where the rows above it have 3"),
        ("text,label\na,a,\nb,b,\nc, d,b,\n", "line 4: 4 fields where the rows above it have 3"),
        ("text,label\na, b,a\nc, d,b\n", "line 2: 3 fields, as in every row, where the header has 2"),
        ('text,label\n"he said \\"x, y\\"",a\nb, c,b\n', "line 3: 3 fields where the header has 2"),
    ],
)
def test_the_row_that_does_not_fit_is_the_one_that_is_named(write: Write, content: str, says: str) -> None:
    assert f"a.csv {says}; quote a text that holds the delimiter, or fix the " in refusal(
        read_csv, write("a.csv", content)
    )


def test_of_several_dialects_the_one_that_reads_the_most_says_what_is_wrong(write: Write) -> None:
    path = write("a.tsv", 'text\tlabel\n"one\ntwo"\ta\nb\tb\tc\n')
    assert "line 4: 3 fields where the header has 2" in refusal(read_tsv, path)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text("ab \n,\"'", min_size=1, max_size=8).filter(str.strip), min_size=2, max_size=8),
    st.data(),
)
def test_a_comma_too_many_in_any_row_names_its_line(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject
) -> None:
    odd = data.draw(st.integers(0, len(texts) - 1))
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["text", "label"])
    lines: list[int] = []
    for place, text in enumerate(texts):
        file.write("\n" * data.draw(st.integers(0, 2)))
        line = file.getvalue().count("\n") + 1
        writer.writerow([text, "more", "a"] if place == odd else [text, "a"])
        lines.append(line)
    path = tmp_path_factory.getbasetemp() / "comma.csv"
    path.write_text(file.getvalue(), encoding="utf-8", newline="")
    assert f"line {lines[odd]}: 3 fields where the header has 2" in refusal(read_csv, path)


def test_what_one_dialect_read_is_gone_before_the_next_is_tried(tmp_path):
    """A refusal keeps no frames, which would hold all fields: twice the memory for a header of many columns."""
    place = tmp_path / "wide.tsv"
    place.write_bytes(b"[\xff," * 100_000)
    tracemalloc.start()
    try:
        assert "has a header but no rows" in refusal(read_tsv, place)
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


def test_no_columns_are_made_for_a_row_that_has_too_many(tmp_path):
    place = tmp_path / "long.csv"
    place.write_bytes(b"text,label\n" + b",&" * 200_000)
    tracemalloc.start()
    try:
        assert "200001 fields where the header has 2" in refusal(read_csv, place)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_header_that_comes_again_is_no_row(write: Write) -> None:
    table = read_csv(write("a.csv", "text,label\na,1\ntext,label\nb,2\n text,label\ntext,label\n"))
    assert rows_of(table) == [("a", "1"), ("b", "2"), (" text", "label")]
    assert (table.lines, table.notes) == ([2, 4, 5], ["the header comes again in lines 3, 6, which is left out"])
    assert rows_of(read_csv(write("b.csv", "text\na\ntext\n"))) == [("a",), ("text",)], "a text, perhaps"
    assert rows_of(read_csv(write("c.csv", "a,b\na,b\na,b\n"))) == [("a", "b")] * 2
