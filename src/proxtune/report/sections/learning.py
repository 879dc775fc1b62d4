"""Training curves: loss, and accuracy where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxtune.report.charts import curves_chart, loss_chart
from proxtune.report.formatting import number, part
from proxtune.report.run_files import RunFiles
from proxtune.report.sections.base import Section


def _values(run: RunFiles) -> Mapping[str, Any] | None:
    baselines = part(run.result, "baselines")
    base_loss = number(part(baselines, "untouched").get("loss"))
    loss, accuracy = loss_chart(run.records, base_loss), curves_chart(run.records, baselines)
    return {"loss_chart": loss, "accuracy_chart": accuracy} if loss or accuracy else None


SECTION = Section(name="learning", title="Training curves", anchor="learning", values=_values)
