"""The answers with the lowest scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.report.run_files import RunFiles
from proxtune.report.sections.answers import answer_values
from proxtune.report.sections.base import Section


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    return answer_values(run.result, "worst")


SECTION = Section(name="worst_answers", title="Worst answers", anchor="worst", values=_values)
