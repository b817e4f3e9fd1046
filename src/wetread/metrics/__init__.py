"""Metrics: what a draft is worth against its reference. One small file a family, each metric with its spec.

>>> "findings_f1" in METRICS
True
>>> get("findings_f1").spec.better
'higher'

A metric is a function of drafts and references that gives one ``Score`` a report. The score of a report never depends
on the rest of the batch; of a ``CorpusEntry`` that is so once it is frozen. The corpus value comes from the scores' counts:
``get(name).aggregate(scores)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from wetread.metrics.entry import Aggregation, CompositeEntry, CorpusEntry, MetricEntry, check_lengths
from wetread.metrics.weights import Precision, precision_of
from wetread.records import Report, Score
from wetread.registry import Registry

__all__ = ["METRICS", "Aggregation", "CompositeEntry", "CorpusEntry", "MetricEntry", "bind", "get", "score"]

METRICS = Registry(
    "metric",
    {
        "bleu_1": "wetread.metrics.bleu:BLEU_1",
        "bleu_2": "wetread.metrics.bleu:BLEU_2",
        "bleu_3": "wetread.metrics.bleu:BLEU_3",
        "bleu_4": "wetread.metrics.bleu:BLEU_4",
        "bleu_2_rexrank": "wetread.metrics.bleu:BLEU_2_REXRANK",
        "cider_d": "wetread.metrics.cider:CIDER_D",
        "bertscore": "wetread.metrics.bertscore:BERTSCORE",
        "radcliq_v0": "wetread.metrics.radcliq:RADCLIQ_V0",
        "radcliq_v1": "wetread.metrics.radcliq:RADCLIQ_V1",
        "radgraph_simple": "wetread.metrics.radgraph:RADGRAPH_SIMPLE",
        "radgraph_partial": "wetread.metrics.radgraph:RADGRAPH_PARTIAL",
        "radgraph_complete": "wetread.metrics.radgraph:RADGRAPH_COMPLETE",
        "radgraph_simple_uncased": "wetread.metrics.radgraph:RADGRAPH_SIMPLE_UNCASED",
        "radgraph_partial_uncased": "wetread.metrics.radgraph:RADGRAPH_PARTIAL_UNCASED",
        "radgraph_complete_uncased": "wetread.metrics.radgraph:RADGRAPH_COMPLETE_UNCASED",
        "radgraph_simple_original": "wetread.metrics.radgraph:RADGRAPH_SIMPLE_ORIGINAL",
        "radgraph_partial_original": "wetread.metrics.radgraph:RADGRAPH_PARTIAL_ORIGINAL",
        "radgraph_complete_original": "wetread.metrics.radgraph:RADGRAPH_COMPLETE_ORIGINAL",
        "radgraph_simple_modern": "wetread.metrics.radgraph:RADGRAPH_SIMPLE_MODERN",
        "radgraph_partial_modern": "wetread.metrics.radgraph:RADGRAPH_PARTIAL_MODERN",
        "radgraph_complete_modern": "wetread.metrics.radgraph:RADGRAPH_COMPLETE_MODERN",
        "radgraph_combined": "wetread.metrics.radgraph:RADGRAPH_COMBINED",
        "ratescore_long": "wetread.metrics.ratescore:RATESCORE_LONG",
        "ratescore_short": "wetread.metrics.ratescore:RATESCORE_SHORT",
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
        "green": "wetread.metrics.judges.green:GREEN",
        "error_judge": "wetread.metrics.judges.errors:ERROR_JUDGE",
        "error_judge_significant": "wetread.metrics.judges.errors:ERROR_JUDGE_SIGNIFICANT",
        "crimson": "wetread.metrics.judges.crimson:CRIMSON",
        "chexbert_f1_14_micro": "wetread.metrics.chexbert:F1_14_MICRO",
        "chexbert_f1_14_macro": "wetread.metrics.chexbert:F1_14_MACRO",
        "chexbert_f1_14_weighted": "wetread.metrics.chexbert:F1_14_WEIGHTED",
        "chexbert_f1_5_micro": "wetread.metrics.chexbert:F1_5_MICRO",
        "chexbert_f1_5_macro": "wetread.metrics.chexbert:F1_5_MACRO",
        "chexbert_f1_5_weighted": "wetread.metrics.chexbert:F1_5_WEIGHTED",
        "chexbert_f1_14_micro_uncertain_negative": "wetread.metrics.chexbert:F1_14_MICRO_NEGATIVE",
        "chexbert_f1_14_macro_uncertain_negative": "wetread.metrics.chexbert:F1_14_MACRO_NEGATIVE",
        "chexbert_f1_14_weighted_uncertain_negative": "wetread.metrics.chexbert:F1_14_WEIGHTED_NEGATIVE",
        "chexbert_f1_5_micro_uncertain_negative": "wetread.metrics.chexbert:F1_5_MICRO_NEGATIVE",
        "chexbert_f1_5_macro_uncertain_negative": "wetread.metrics.chexbert:F1_5_MACRO_NEGATIVE",
        "chexbert_f1_5_weighted_uncertain_negative": "wetread.metrics.chexbert:F1_5_WEIGHTED_NEGATIVE",
        "semb_score": "wetread.metrics.semb:SEMB_SCORE",
        "fkgl": "wetread.metrics.readability:FKGL",
        "dcrs": "wetread.metrics.readability:DCRS",
    },
)
"""Every metric by name; its module is imported when it is asked for."""


def get(name: str, weights: str | Path | None = None, precision: Precision | None = None) -> MetricEntry:
    """Return the metric called ``name``, bound to a folder of weights (``weights.locate``) and a precision where given.

    An unknown name raises ``UsageError`` with the names that exist, and so does an unknown precision.
    """
    entry = cast(MetricEntry, METRICS[name])
    if weights is not None:
        entry = replace(entry, weights=str(weights))
    return entry if precision is None else replace(entry, precision=precision_of(precision))


def bind(
    names: Iterable[str],
    references: Iterable[Report] | None = None,
    *,
    weights: str | Path | None = None,
    precision: Precision | None = None,
) -> dict[str, MetricEntry]:
    """Return these metrics and all that composite ones are made of, ready for any batch; they pickle.

    Parameters
    ----------
    names
        Metrics, as in ``METRICS``.
    references
        The corpus on which those that need one are frozen, read once; None: they stay as they are.
    weights, precision
        As for ``get``.

    Raises
    ------
    UsageError
        When a name or the precision is unknown, or a metric needs a corpus and ``references`` have no text.
    """
    entries: dict[str, MetricEntry] = {}
    wanted = list(names)
    for name in wanted:  # grows while it is walked: parts may have parts
        entry = get(name, weights, precision)
        wanted += [part for part in (entry.parts if isinstance(entry, CompositeEntry) else ()) if part not in wanted]
        frozen = isinstance(entry, CorpusEntry) and references is not None
        entries[name] = cast(CorpusEntry, entry).freeze(cast(Iterable[Report], references)) if frozen else entry
    return entries


def score(
    names: Iterable[str],
    drafts: Sequence[Report],
    references: Sequence[Report],
    *,
    weights: str | Path | None = None,
    precision: Precision | None = None,
    entries: Mapping[str, MetricEntry] | None = None,
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
    precision
        What their networks compute with, see ``weights.precision_of``.
    entries
        Metrics to use in place of those in ``METRICS``, such as one that was frozen on a corpus. A ``CorpusEntry`` that was
        not takes all ``references``, repeated ones too, for its corpus.

    Returns
    -------
    dict
        Metric name to one score a draft, in order.

    Raises
    ------
    UsageError
        When a name or the precision is unknown or the lengths differ.
    """
    check_lengths(drafts, references)
    wanted = list(dict.fromkeys(names))
    places: dict[tuple[Report, Report], int] = {}
    order = [places.setdefault(pair, len(places)) for pair in zip(drafts, references, strict=True)]
    unique_drafts, unique_references = [pair[0] for pair in places], [pair[1] for pair in places]
    found: dict[str, list[Score]] = {}

    def values(name: str) -> list[Score]:
        if name not in found:
            entry = (entries or {}).get(name) or get(name, weights, precision)
            if isinstance(entry, CompositeEntry):
                found[name] = entry.combine({part: values(part) for part in entry.parts})
            elif isinstance(entry, CorpusEntry) and any(references):
                found[name] = entry.freeze(references)(unique_drafts, unique_references)
            else:
                found[name] = entry(unique_drafts, unique_references)
        return found[name]

    # Each place gets its own record, so that nobody who edits one study's counts edits another's.
    last = {place: row for row, place in enumerate(order)}
    own = [last[place] == row for row, place in enumerate(order)]

    def spread(scores: Sequence[Score]) -> list[Score]:
        return [
            scores[place] if mine else replace(scores[place], counts=dict(scores[place].counts))
            for place, mine in zip(order, own, strict=True)
        ]

    return {name: spread(values(name)) for name in wanted}
