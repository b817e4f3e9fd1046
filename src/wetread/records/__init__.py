"""The nouns: frozen records with JSON both ways. Standard library and numpy only."""

from wetread.records.document import NOTICE, UNVERIFIED, Document, Signature
from wetread.records.draft import Draft, ParseStatus
from wetread.records.inputs import InputConfig, Inputs
from wetread.records.report import (
    CHANGES,
    PRESENCES,
    SEVERITIES,
    SIDES,
    Change,
    Finding,
    Presence,
    Report,
    Severity,
    Side,
)
from wetread.records.rollout import Generation, Prompt, Sampling, Turn
from wetread.records.score import Metric, MetricSpec, Score
from wetread.records.study import FRONTAL_FIRST, SEXES, VIEWS, Image, Pixels, Prior, Sex, Study, View
from wetread.records.thought import Correction, Thought
from wetread.records.trace import Trace

__all__ = [
    "CHANGES", "FRONTAL_FIRST", "NOTICE", "PRESENCES", "SEVERITIES", "SEXES", "SIDES", "UNVERIFIED", "VIEWS",
    "Change", "Correction", "Document", "Draft", "Finding", "Generation", "Image", "InputConfig", "Inputs", "Metric", "MetricSpec", "ParseStatus", "Pixels",
    "Presence", "Prior", "Prompt", "Report", "Sampling", "Score", "Severity", "Sex", "Side", "Signature", "Study", "Thought", "Trace", "Turn", "View",
]  # fmt: skip
