"""The files of a run: read as far as they are there."""

import pytest

from proxtune.errors import UserError
from proxtune.report.run_files import read_run


def test_every_part_is_read(run_dir):
    run = read_run(run_dir)
    assert run.result["task"] == "classify"
    assert run.plan["chosen"]["method"] == "lora"
    assert {record["kind"] for record in run.records} >= {"phase", "step", "validation"}
    assert "reviews.csv" in run.recipe


def test_all_but_the_result_may_be_missing_or_odd(run_dir):
    for name in ("metrics.jsonl", "recipe.toml"):
        (run_dir / name).unlink()
    (run_dir / "plan.json").write_text("[1]")
    run = read_run(run_dir)
    assert (run.plan, run.records, run.recipe) == ({}, [], "")


def test_a_folder_without_a_result_is_the_users_to_fix(tmp_path):
    with pytest.raises(UserError, match=r"has no result\.json; give the folder"):
        read_run(tmp_path)
    for content in ('{"status": "do', "[]"):
        (tmp_path / "result.json").write_text(content)
        with pytest.raises(UserError, match="cannot be read"):
            read_run(tmp_path)
