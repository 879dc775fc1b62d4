"""Files are whole or absent, whatever happens to their writer."""

import errno
import json

import pytest

from proxtune.storage.atomic import write_atomic, write_json


def test_a_file_is_written_and_nothing_else_is_left(tmp_path):
    write_atomic(tmp_path / "a.txt", lambda place: place.write_text("words"))
    assert [(place.name, place.read_text()) for place in tmp_path.iterdir()] == [("a.txt", "words")]


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path):
    def fail(place):
        place.write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_atomic(tmp_path / "a.txt", fail)
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


def test_what_libraries_say_of_a_full_disk_is_the_systems_error():
    from proxtune.storage.atomic import as_system_errors

    with pytest.raises(OSError, match="No space left") as raised, as_system_errors():
        raise Exception('I/O error: No space left on device (os error 28) at path "/x"')
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(ValueError, match="else"), as_system_errors():
        raise ValueError("something else")
    with pytest.raises(FileNotFoundError), as_system_errors():
        raise FileNotFoundError(2, "gone")


def test_a_tokenizer_that_cannot_be_written_is_the_systems_error(tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    from proxtune.storage.atomic import as_system_errors

    with pytest.raises(FileNotFoundError) as raised, as_system_errors():
        Tokenizer(WordLevel({"a": 0}, "a")).save(str(tmp_path / "absent" / "tokenizer.json"))
    assert raised.value.errno == errno.ENOENT
