"""The layout that weights have in files, where it is another than in the model: one tensor for each expert, not one for all."""

from __future__ import annotations

from typing import Any


def layout_copies_bytes(model: Any) -> int:
    """Bytes of the copies that transformers makes of weights to write them in the layout of files, all there at once.

    The conversion is tried on tensors without data; what comes out is a view or a copy.

    Parameters
    ----------
    model
        A transformers model, without adapters or with those of peft merged.

    Returns
    -------
    Bytes in the dtype that the weights are held in; 0 where files have the model's own layout.
    """
    from transformers.core_model_loading import revert_weight_conversion

    held = {name: weight.detach().to("meta") for name, weight in model.state_dict().items()}
    known = {weight.untyped_storage()._cdata for weight in held.values()}
    written = [weight.untyped_storage() for weight in revert_weight_conversion(model, held).values()]
    copies = {storage._cdata: storage.nbytes() for storage in written if storage._cdata not in known}
    return sum(copies.values())
