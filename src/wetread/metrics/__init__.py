"""Metrics: what a draft is worth against its reference. One small file a family, each metric with its spec.

>>> sorted(METRICS)[:3]
['bleu_2', 'dcrs', 'entity_f1']
>>> get("bleu_2").spec.better
'higher'

A metric is a function of drafts and references that gives one ``Score`` a report. The score of a report never depends
on the rest of the batch. The corpus value comes from the scores' counts: ``get(name).aggregate(scores)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from wetread.metrics.entry import Aggregation, CompositeEntry, MetricEntry, check_lengths
from wetread.records import Report, Score
from wetread.registry import Registry

__all__ = ["METRICS", "Aggregation", "CompositeEntry", "MetricEntry", "get", "score"]

METRICS = Registry(
    "metric",
    {
        "bleu_2": "wetread.metrics.lexical:BLEU_2",
        "rouge_l": "wetread.metrics.lexical:ROUGE_L",
        "lexical_similarity": "wetread.metrics.lexical:LEXICAL_SIMILARITY",
        "findings_f1": "wetread.metrics.findings:FINDINGS_F1",
        "findings_f1_sided": "wetread.metrics.findings:FINDINGS_F1_SIDED",
        "findings_f1_macro": "wetread.metrics.findings:FINDINGS_F1_MACRO",
        "findings_precision": "wetread.metrics.findings:FINDINGS_PRECISION",
        "findings_recall": "wetread.metrics.findings:FINDINGS_RECALL",
        "entity_f1": "wetread.metrics.findings:ENTITY_F1",
        "labels14_f1_micro": "wetread.metrics.labels:LABELS14_F1_MICRO",
        "labels14_f1_macro": "wetread.metrics.labels:LABELS14_F1_MACRO",
        "labels14_f1_weighted": "wetread.metrics.labels:LABELS14_F1_WEIGHTED",
        "label_agreement": "wetread.metrics.labels:LABEL_AGREEMENT",
        "errors_total": "wetread.metrics.discrepancies:ERRORS_TOTAL",
        "errors_significant": "wetread.metrics.discrepancies:ERRORS_SIGNIFICANT",
        "report_similarity": "wetread.metrics.similarity:REPORT_SIMILARITY",
        "fkgl": "wetread.metrics.readability:FKGL",
        "dcrs": "wetread.metrics.readability:DCRS",
    },
)
"""Every metric by name; its module is imported when it is asked for."""


def get(name: str, weights: str | Path | None = None) -> MetricEntry:
    """Return the metric called ``name``, bound to a folder of weights when one is given (``weights.locate``).

    An unknown name raises ``UsageError`` with the names that exist.
    """
    entry = cast(MetricEntry, METRICS[name])
    return entry if weights is None else replace(entry, weights=str(weights))


def score(
    names: Iterable[str],
    drafts: Sequence[Report],
    references: Sequence[Report],
    *,
    weights: str | Path | None = None,
) -> dict[str, list[Score]]:
    """Score drafts by several metrics; equal (draft, reference) pairs, and parts that metrics share, are scored once.

    Parameters
    ----------
    names
        Metrics, as in ``METRICS``.
    drafts, references
        Reports of the same order and length.
    weights
        Folder of the weights of those metrics that need any.

    Returns
    -------
    dict
        Metric name to one score a draft, in order.

    Raises
    ------
    UsageError
        When a name is unknown or the lengths differ.
    """
    check_lengths(drafts, references)
    wanted = list(dict.fromkeys(names))
    places: dict[tuple[Report, Report], int] = {}
    order = [places.setdefault(pair, len(places)) for pair in zip(drafts, references, strict=True)]
    unique_drafts, unique_references = [pair[0] for pair in places], [pair[1] for pair in places]
    found: dict[str, list[Score]] = {}

    def values(name: str) -> list[Score]:
        if name not in found:
            entry = get(name, weights)
            if isinstance(entry, CompositeEntry):
                found[name] = entry.combine({part: values(part) for part in entry.parts})
            else:
                found[name] = entry(unique_drafts, unique_references)
        return found[name]

    # Each place gets its own record, so that nobody who edits one study's counts edits another's.
    return {
        name: [replace(values(name)[place], counts=dict(values(name)[place].counts)) for place in order]
        for name in wanted
    }
