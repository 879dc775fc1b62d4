"""Methods: one file a way to train, one line here."""

from __future__ import annotations

from proxtune.methods import full, layers, lora, nno, probe
from proxtune.methods.base import Method

METHODS: dict[str, Method] = {m.METHOD.name: m.METHOD for m in (probe, nno, lora, layers, full)}
