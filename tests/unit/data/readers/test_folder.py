"""Which files of a folder hold a split: as Hugging Face lays them out, as `save_to_disk` writes them, as people do."""

import gzip
import json
from pathlib import Path

import pytest

from proxtune.data.readers.folder import find_split_file, find_train_files
from support.files import refusal


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def names_of(found: list[Path]) -> list[str]:
    return [path.name for path in found]


def test_shards_in_their_order_under_any_of_a_splits_names(tmp_path: Path) -> None:
    touch(
        tmp_path / "data",
        "train-00001-of-00002.parquet",
        "train-00000-of-00002.parquet",
        "valid-00000-of-00001.parquet",
    )
    assert names_of(find_train_files(tmp_path)) == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert names_of(find_split_file(tmp_path, ["nothing", "valid"])) == ["valid-00000-of-00001.parquet"]
    assert find_split_file(tmp_path, ["test"]) == []


def test_the_folder_itself_comes_first_then_data_then_the_others(tmp_path: Path) -> None:
    touch(tmp_path, "alpha/train.csv", ".hidden/train.csv")
    assert find_train_files(tmp_path) == [tmp_path / "alpha" / "train.csv"]
    touch(tmp_path, "data/train.csv")
    assert find_train_files(tmp_path) == [tmp_path / "data" / "train.csv"]
    touch(tmp_path, "train.json")
    assert find_train_files(tmp_path) == [tmp_path / "train.json"]


def test_a_dataset_saved_to_disk_names_its_files_and_none_outside(tmp_path: Path) -> None:
    touch(tmp_path, "train/data-00000-of-00001.arrow", "train/cache-1.arrow")
    state = {"_data_files": [{"filename": "../../data-00000-of-00001.arrow"}]}  # must not lead out
    (tmp_path / "train" / "state.json").write_text(json.dumps(state))
    wanted = [tmp_path / "train" / "data-00000-of-00001.arrow"]
    assert find_train_files(tmp_path) == wanted
    assert find_train_files(tmp_path / "train") == wanted


@pytest.mark.parametrize("state", ["{}", "{", '{"_data_files": 3}', '{"_data_files": [{}]}', "[]"])
def test_a_broken_state_is_told(tmp_path: Path, state: str) -> None:
    touch(tmp_path, "train/data-00000-of-00001.arrow")
    (tmp_path / "train" / "state.json").write_text(state)
    assert "save the dataset again with save_to_disk" in refusal(find_train_files, tmp_path)


def test_the_only_file_is_the_one_to_train_on(tmp_path: Path) -> None:
    assert "nothing readable in this folder" in refusal(find_train_files, tmp_path)
    touch(tmp_path, "reviews.csv", "README.md", "dataset_infos.json", "config.json")
    assert names_of(find_train_files(tmp_path)) == ["reviews.csv"]
    touch(tmp_path, "more.csv")
    assert "2 data files and none is called train; give one of them" in refusal(find_train_files, tmp_path)
    touch(tmp_path, "training.jsonl")
    assert names_of(find_train_files(tmp_path)) == ["training.jsonl"]


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in refusal(find_split_file, tmp_path / "gone", ["train"])


def test_a_folder_with_files_of_another_kind_alone_says_what_they_are(tmp_path: Path) -> None:
    touch(tmp_path, "README.txt", "index.html")
    assert "nothing readable in this folder" in refusal(find_train_files, tmp_path)
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(b"text,label\n"))
    assert "train.csv.gz: it is compressed with gzip; unpack it" in refusal(find_train_files, tmp_path)
