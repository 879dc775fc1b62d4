"""The rows of text generation, with how the model is asked and how its answers are generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxtune.tasks.base import TaskData

if TYPE_CHECKING:
    from proxtune.tasks.generation.decoding import GenerationSettings
    from proxtune.tasks.generation.prompting import PromptFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationData(TaskData):
    """With how the model is asked, and the tokens that an answer may have."""

    prompt_format: PromptFormat
    new_tokens: int


def own_data(data: TaskData) -> GenerationData:
    """The rows as this task encoded them."""
    assert isinstance(data, GenerationData), "encoded by this task"
    return data


def settings_of(data: TaskData) -> GenerationSettings:
    """How answers to the rows of a run are generated."""
    from proxtune.tasks.generation.decoding import GenerationSettings

    own = own_data(data)
    return GenerationSettings(
        tokenizer=own.tokenizer, pad_id=own.pad_id, stop_ids=own.prompt_format.stop_ids, new_tokens=own.new_tokens,
        pads=own.pads, batches=own.batches,
    )  # fmt: skip
