"""The model that looks at nothing: the same normal report for every study.

Every table carries it as a baseline, because a fixed normal report scores well on overlap metrics and zero on clinical
ones. It also makes the whole path from file to draft runnable without weights.
"""

from __future__ import annotations

from collections.abc import Sequence

from wetread.models.base import Progress
from wetread.records import Generation, Prompt, Report, Sampling

NORMAL = Report(
    findings=(
        "The heart size is normal. The mediastinal contours are normal. "
        "The lungs are clear. No pleural effusion or pneumothorax."
    ),
    impression="No acute cardiopulmonary abnormality.",
)
"""The constant report, in our own words."""


class TemplateModel:
    """Answers every prompt with one report.

    Parameters
    ----------
    report
        The report to give; the constant normal one by default. The most-frequent-report baseline passes its own.
    name
        Name in the records.
    """

    style = "direct"

    def __init__(self, report: Report = NORMAL, name: str = "template") -> None:
        self.report = report
        self.name = name

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Progress | None = None
    ) -> list[Generation]:
        """Return the report once per prompt; ``sampling`` has no effect."""
        text = self.report.text
        if progress is not None:
            progress(len(prompts))
        return [Generation(prompt.study, text, tokens=len(text.split())) for prompt in prompts]
