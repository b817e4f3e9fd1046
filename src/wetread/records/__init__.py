"""The nouns: frozen records with JSON both ways. Standard library and numpy only."""

from wetread.records.inputs import InputConfig, Inputs
from wetread.records.report import (
    CHANGES,
    PRESENCES,
    SEVERITIES,
    SIDES,
    Change,
    Draft,
    Finding,
    ParseStatus,
    Presence,
    Report,
    Severity,
    Side,
)
from wetread.records.rollout import Generation, Prompt, Sampling
from wetread.records.score import Metric, MetricSpec, Score
from wetread.records.study import SEXES, VIEWS, Image, Pixels, Prior, Sex, Study, View

__all__ = [
    "CHANGES", "PRESENCES", "SEVERITIES", "SEXES", "SIDES", "VIEWS",
    "Change", "Draft", "Finding", "Generation", "Image", "InputConfig", "Inputs", "Metric", "MetricSpec", "ParseStatus", "Pixels",
    "Presence", "Prior", "Prompt", "Report", "Sampling", "Score", "Severity", "Sex", "Side", "Study", "View",
]  # fmt: skip
