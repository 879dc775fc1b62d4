"""Words of a model card: no folder of the machine, and text that stays text."""

import pytest

from proxtune.report.markdown import HUB_ID, as_code, base_of, file_name, inline, markdown_table, name_of


def test_names_leave_out_folders():
    result = {"model": "/home/me/models/mine", "method": "lora", "data": {"source": "/home/me/rows.csv"}}
    assert name_of(result) == "mine · lora"
    assert base_of(result) == "mine"
    assert file_name(result) == "rows.csv"
    assert (name_of({}), base_of({}), file_name({})) == ("model · –", "a pretrained model", "custom data")


@pytest.mark.parametrize("source", ["/data/models/mine", "mine", "./a/b", "a/b/c", 'x/y"\n- z'])
def test_only_owner_and_name_is_a_hub_id(source):
    assert HUB_ID.fullmatch(source) is None
    assert HUB_ID.fullmatch("owner/model-1.0")


def test_text_ends_neither_html_nor_markdown_nor_code():
    assert inline("<b> *x* [a](b) | #") == r"&lt;b&gt; \*x\* \[a\](b) \| \#"
    assert as_code("a `b`") == "a 'b'"


def test_a_table_has_its_numbers_to_the_right():
    assert markdown_table(("", "score"), [("a|b", "1.0")]) == "|  | score |\n| --- | ---: |\n| a\\|b | 1.0 |\n"
