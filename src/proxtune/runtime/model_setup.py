"""The model of a session: loaded, prepared by its method, and held to a size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxtune.config.plan import Plan
from proxtune.memory.allocator import set_allocator
from proxtune.memory.kernel_cache import FEW, SOME, USUAL, limit_kernel_cache
from proxtune.methods.registry import METHODS
from proxtune.models.introspection import enable_checkpointing, head_of
from proxtune.runtime.session import Session
from proxtune.tasks.base import Task
from proxtune.tasks.classification.label_prompt import init_head_from_words, label_word_rows

if TYPE_CHECKING:
    from proxtune.compression.size_constraint import SizeConstraint, NoSizeConstraint
    from proxtune.tasks.generation.decoding import GenerationSettings


def loaded(plan: Plan, session: Session) -> Any:
    """The pretrained model, in the dtype and with the allocator and the kernels that the plan has."""
    set_allocator(plan.allocator)
    limit_kernel_cache(FEW if plan.neighbours else SOME if session.task.generates else USUAL)
    return session.task.load(session.source.folder, session.recipe.seed, plan.loaded_dtype)


def prepared(plan: Plan, session: Session) -> Any:
    """The same with the plan's method and knobs applied, on the session's device."""
    task, plain = session.task, loaded(plan, session)
    if task.prompt is not None:
        init_head_from_words(head_of(plain)[1], label_word_rows(plain, session.source.folder, task.tokenizer, task.prompt))
    model = METHODS[plan.method].prepare(plain, plan)
    if plan.checkpointing:
        enable_checkpointing(model)
    return model.to(session.device)


def generation_settings(task: Task) -> GenerationSettings:
    """How the task's answers are generated."""
    from proxtune.tasks.generation.decoding import GenerationSettings

    assert task.prompt_format is not None, "text is generated"
    return GenerationSettings(task.tokenizer, task.pad_id, task.prompt_format.stop_ids, task.new_tokens)


def constraint_of(session: Session, plan: Plan, model: Any) -> SizeConstraint | NoSizeConstraint:
    """What holds `model` to the size that was asked for; from the start where no gradients tell what weights are worth."""
    from proxtune.compression.size_constraint import SizeConstraint, NoSizeConstraint

    if session.structure is None:
        return NoSizeConstraint()
    constraint = SizeConstraint(model, head_of(model)[0], session.structure, session.folder)
    if not METHODS[plan.method].uses_gradients:
        constraint.allocate()
    return constraint
