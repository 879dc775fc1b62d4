"""Files are whole or absent, whatever happens to their writer."""

import json

import pytest

from proxtune.durable import write_json, write_whole


def test_a_file_is_written_and_nothing_else_is_left(tmp_path):
    write_whole(tmp_path / "a.txt", lambda place: place.write_text("words"))
    assert [(place.name, place.read_text()) for place in tmp_path.iterdir()] == [("a.txt", "words")]


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path):
    def fail(place):
        place.write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_whole(tmp_path / "a.txt", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_fails_leaves_the_former_file_as_it_was(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"is": "good"})
    with pytest.raises(TypeError):
        write_json(path, {"is": object()})
    assert json.loads(path.read_text()) == {"is": "good"}
    assert [place.name for place in tmp_path.iterdir()] == ["a.json"]


def test_json_keeps_words_readable(tmp_path):
    write_json(tmp_path / "a.json", {"text": "caf\u00e9 \u2192 \u96e8", "list": [1, None, 2.5]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "caf\u00e9 \u2192 \u96e8" in text
    assert json.loads(text) == {"text": "caf\u00e9 \u2192 \u96e8", "list": [1, None, 2.5]}
