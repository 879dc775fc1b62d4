"""The model of a session: loaded, prepared by its method, and held to a size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxtune.config.plan import Plan
from proxtune.errors import UserError
from proxtune.memory.allocator import set_allocator
from proxtune.memory.kernel_cache import FEW, SOME, USUAL, limit_kernel_cache
from proxtune.methods.linear_head import LinearHead, install_head
from proxtune.methods.registry import find_method
from proxtune.models.converted import weights_in
from proxtune.models.introspection import enable_checkpointing, head_of
from proxtune.runtime.session import Session
from proxtune.runtime.streaming import CANNOT, stream_weights

if TYPE_CHECKING:
    from proxtune.compression.size_constraint import NoSizeConstraint, SizeConstraint


def loaded(plan: Plan, session: Session) -> Any:
    """The pretrained model, in the dtype and with the allocator and the kernels that the plan has."""
    set_allocator(plan.allocator)
    limit_kernel_cache(FEW if plan.neighbours else SOME if session.traits.long_rows else USUAL)
    return loaded_from(weights_folder(plan, session), plan, session)


def weights_folder(plan: Plan, session: Session) -> Path:
    """Where the weights are that a plan loads: the model's own folder, or for streaming one that has them in the plan's dtype."""
    folder = session.source.folder
    return weights_in(folder, plan.loaded_dtype) if plan.streamed else folder


def loaded_from(folder: Path, plan: Plan, session: Session) -> Any:
    """The model in `folder`, its weights streamed where the plan says so. Raises UserError where they cannot be."""
    model = session.task.load_model(folder, session.data, session.recipe.seed, plan.loaded_dtype)
    if plan.streamed and stream_weights(model.requires_grad_(False), folder) is None:
        raise UserError(CANNOT)
    return model


def stream_loaded(model: Any, plan: Plan, session: Session) -> bool:
    """Let the frozen weights of a loaded model come and go from now on; whether they do, as they do where they lie in files."""
    if plan.streamed or not session.device.maps_files:
        return False
    return stream_weights(model, session.source.folder) is not None


def prepared(plan: Plan, session: Session, head: LinearHead | None = None) -> Any:
    """The same with the plan's method and knobs applied, on the session's device; with a fitted last layer, where given."""
    model = loaded(plan, session)
    if head is not None:
        install_head(model, head)
    return as_trained(plan, model, session)


def as_trained(plan: Plan, model: Any, session: Session) -> Any:
    """A loaded model with the plan's method and knobs applied, on the session's device."""
    model = find_method(plan.method).prepare(model, plan)
    if plan.checkpointing:
        enable_checkpointing(model)
    return model.to(session.device.torch_device)


def constraint_of(session: Session, plan: Plan, model: Any) -> SizeConstraint | NoSizeConstraint:
    """What holds `model` to the size that was asked for; from the start where no gradients tell what weights are worth."""
    from proxtune.compression.size_constraint import NoSizeConstraint, SizeConstraint

    if session.structure is None:
        return NoSizeConstraint()
    constraint = SizeConstraint(model=model, head=head_of(model)[0], structure=session.structure, folder=session.folder)
    if not find_method(plan.method).uses_gradients:
        constraint.allocate()
    return constraint
