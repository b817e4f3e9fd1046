"""The models that look at nothing: the same report for every study, or the report of the study before.

Every table carries the constant report as a baseline, because a fixed normal report scores well on overlap metrics and zero
on clinical ones. It also makes the whole path from file to draft runnable without weights. Copying the prior's report is
what a longitudinal model has to beat: most of a patient's picture stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wetread.models.base import Progress
from wetread.records import Generation, Inputs, Prompt, Report, Sampling

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
        self.inputs = Inputs()
        self.guide: Mapping[str, Any] = {}
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


class CopyModel:
    """Answers with the report that a study has of its own, such as its prior's, else with one report for all.

    Parameters
    ----------
    reports
        Study id to the report that is copied.
    fallback
        The report of studies without one.
    name
        Name in the records.
    """

    style = "direct"

    def __init__(self, reports: Mapping[str, Report], fallback: Report = NORMAL, name: str = "copy prior") -> None:
        self.inputs = Inputs()
        self.guide: Mapping[str, Any] = {}
        self.reports = reports
        self.fallback = fallback
        self.name = name

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Progress | None = None
    ) -> list[Generation]:
        """Return the copied report once per prompt; ``sampling`` has no effect."""
        texts = [self.reports.get(prompt.study, self.fallback).text for prompt in prompts]
        if progress is not None:
            progress(len(prompts))
        return [
            Generation(prompt.study, text, tokens=len(text.split()))
            for prompt, text in zip(prompts, texts, strict=True)
        ]
