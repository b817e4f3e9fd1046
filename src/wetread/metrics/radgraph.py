"""RadGraph F1: whether draft and reference state the same entities and relations.

Names say what was measured:

| name | checkpoint | compared |
|---|---|---|
| ``radgraph_simple``, ``_partial``, ``_complete`` | ``radgraph-xl``, the package's default | one of the package's three levels, case kept |
| … ``_uncased`` | ``radgraph-xl`` | the same, words lower-cased |
| … ``_original`` | ``radgraph`` | the same as without it, case kept |
| … ``_modern`` | ``modern-radgraph-xl`` | the same as without it, case kept |
| ``radgraph_combined`` | ``radgraph`` | half F1 of entities, half F1 of relations, case kept: a part of RadCliQ |

Levels are those of radgraph 0.1.18, the version on PyPI, in which "Edema" and "edema" differ; ``_uncased`` is the package's
source since commit 87f11a1 (July 2026), which changed scores without a new version. ``radgraph_combined`` is that of
CXR-Report-Metric at 9c9ecad, which ReXrank uses.

A draft without text states nothing and scores 0. A reference without text is not scored (the package gives 0, although no
draft could have done better). A text of white space alone, on which the package stops, is one without text. Two reports
that state nothing score 0, as upstream, although they agree; and two equal reports without a relation get a
``radgraph_combined`` of 1/2. Both are in the official numbers and so in these.

The corpus value is the mean over reports, as the package and ReXrank have it, and so are the precision and recall beside it
(of ``radgraph_combined``, half those of entities and half those of relations). The counts of what was compared go with each
score (``tp``, ``fp``, ``fn``; for ``radgraph_combined`` with ``entity_`` and ``relation_`` before them), so that precision,
recall and F1 of the summed counts can be had without scoring again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from wetread.errors import UsageError, nearest
from wetread.metrics import graphs
from wetread.metrics.encoder import opened
from wetread.metrics.entry import Aggregation, MetricEntry, check_lengths, fold_mean, mean_keys, score_pairs
from wetread.metrics.graphs import Graph
from wetread.metrics.weights import Precision, WeightsSpec, label, locate
from wetread.records import MetricSpec, Report, Score

HUB = "StanfordAIMI/RRG_scorers"
"""Hugging Face repository of the official archives."""


def _weights(name: str, checkpoint: str, gate: str = "") -> WeightsSpec:
    # The archive may lie in the folder or in one of its own name, packed or not: the archive's reader looks for it.
    return WeightsSpec(name, "radgraph", (), HUB, (f"{checkpoint}.tar.gz",), gate)


WEIGHTS = {
    "radgraph": _weights(
        "RadGraph",
        "radgraph",
        "RadGraph 1.0.0 on PhysioNet, which holds the checkpoint that ReXrank uses, is open to credentialed users only",
    ),
    "radgraph-xl": _weights("RadGraph-XL", "radgraph-xl"),
    "modern-radgraph-xl": _weights("Modern-RadGraph-XL", "modern-radgraph-xl"),
}
"""What each checkpoint needs, by its name."""


def annotate(
    texts: Sequence[str],
    checkpoint: str = "radgraph-xl",
    *,
    weights: str | Path | None = None,
    precision: Precision = "fp32",
) -> list[dict[str, Any]]:
    """Return each text's annotation in the form that the ``radgraph`` package gives one text.

    Parameters
    ----------
    texts
        Reports. One without any words has no entities; the package reads an empty one as the word "None".
    checkpoint
        A name in ``WEIGHTS``.
    weights
        Folder of the weights; see ``weights.locate``.
    precision
        What the encoder computes with.

    Returns
    -------
    list of dict
        ``{"text", "entities": {"1": {"tokens", "label", "start_ix", "end_ix", "relations": [[name, "2"], …]}, …}, …}``;
        word numbers are inclusive.

    Raises
    ------
    UsageError
        When the checkpoint is unknown.
    MissingError
        When its files are not there or damaged.
    """
    if checkpoint not in WEIGHTS:
        hint = nearest(checkpoint, WEIGHTS)
        raise UsageError(f"no RadGraph checkpoint is called {checkpoint!r}.{hint} There are: {', '.join(WEIGHTS)}.")
    found = _graphs(texts, checkpoint, weights, precision)
    return [found[text].to_annotation() for text in texts]


def level(
    drafts: Sequence[Report],
    references: Sequence[Report],
    *,
    metric: str,
    facet: str,
    checkpoint: str,
    fold: bool = False,
    weights: str | Path | None = None,
    precision: Precision = "fp32",
) -> list[Score]:
    """Score drafts at one of the package's levels (``facet``: simple, partial or complete), lower-cased when ``fold``."""
    found = _both(drafts, references, checkpoint, weights, precision)
    compared = graphs.LEVELS[facet]
    pieces = {text: compared(graph, fold) for text, graph in found.items()}

    def judge(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
        counts = graphs.overlap(pieces[draft.text], pieces[reference.text])
        return graphs.f1(counts), counts

    return score_pairs(metric, judge, drafts, references)


def combined(
    drafts: Sequence[Report],
    references: Sequence[Report],
    *,
    weights: str | Path | None = None,
    precision: Precision = "fp32",
) -> list[Score]:
    """Score drafts by the mean of entity F1 and relation F1, each 0 where nothing of it is stated; original checkpoint."""
    found = _both(drafts, references, "radgraph", weights, precision)
    pieces = {text: (graphs.simple(graph), graphs.relations(graph)) for text, graph in found.items()}

    def judge(draft: Report, reference: Report) -> tuple[float, dict[str, float]]:
        (entities, links), (true_entities, true_links) = pieces[draft.text], pieces[reference.text]
        parts = {"entity": graphs.overlap(entities, true_entities), "relation": graphs.overlap(links, true_links)}
        counts = {f"{part}_{kind}": count for part, each in parts.items() for kind, count in each.items()}
        return (graphs.f1(parts["entity"]) + graphs.f1(parts["relation"])) / 2, counts

    return score_pairs("radgraph_combined", judge, drafts, references)


def identity(weights: str | None, precision: Precision, *, checkpoint: str) -> tuple[str, ...]:
    """Return what the graphs of a checkpoint are made with; see ``MetricEntry.made_with``."""
    from wetread.metrics.neural.radgraph_archive import files

    spec = WEIGHTS[checkpoint]
    return (label(spec.name, files(locate(spec, weights), checkpoint), precision),)


def _both(
    drafts: Sequence[Report],
    references: Sequence[Report],
    checkpoint: str,
    weights: str | Path | None,
    precision: Precision,
) -> dict[str, Graph]:
    """Return the graphs of the texts that will be compared, by text."""
    check_lengths(drafts, references)
    pairs = [(draft.text, reference.text) for draft, reference in zip(drafts, references, strict=True) if reference]
    return _graphs((text for pair in pairs for text in pair), checkpoint, weights, precision)


def _graphs(
    texts: Iterable[str], checkpoint: str, weights: str | Path | None, precision: Precision
) -> dict[str, Graph]:
    from wetread.metrics.neural import radgraph as network

    distinct = list(dict.fromkeys(texts))
    encoder = opened(network.OPEN[checkpoint], locate(WEIGHTS[checkpoint], weights), precision)
    model = cast(network.RadGraphModel, encoder.model)
    worded = [text for text in distinct if text.strip()]
    found = dict(zip(worded, encoder(worded), strict=True))
    return {text: model.graph(text, found[text]) if text in found else Graph() for text in distinct}


def _shares(score: Score) -> tuple[float, float]:
    return _shares_of(score, "")


def _shares_combined(score: Score) -> tuple[float, float]:
    entity, relation = (_shares_of(score, part) for part in ("entity_", "relation_"))
    return (entity[0] + relation[0]) / 2, (entity[1] + relation[1]) / 2


def _shares_of(score: Score, part: str) -> tuple[float, float]:
    """Return precision and recall of one report; like the F1, 0 where nothing is stated."""
    tp, fp, fn = (score.counts.get(f"{part}{kind}", 0.0) for kind in ("tp", "fp", "fn"))
    return tp / (tp + fp) if tp else 0.0, tp / (tp + fn) if tp else 0.0


LEVEL = Aggregation(mean_keys, fold_mean, _shares)
"""Mean over reports of F1, precision and recall of one set of pieces."""
COMBINED = Aggregation(mean_keys, fold_mean, _shares_combined)
"""The same, each the mean of that of entities and that of relations."""


def _level(facet: str, suffix: str, checkpoint: str, *, fold: bool = False) -> MetricEntry:
    name = f"radgraph_{facet}{suffix}"
    code = "its source since 87f11a1 (words lower-cased)" if fold else "radgraph 0.1.18 (case kept)"
    return MetricEntry(
        MetricSpec(
            name, "higher", (0.0, 1.0), _modalities(checkpoint), "1", needs=(WEIGHTS[checkpoint].name,),
            source=f"F1RadGraph, level {facet}, checkpoint {checkpoint}; {code}; corpus: mean",
        ),
        partial(level, metric=name, facet=facet, checkpoint=checkpoint, fold=fold),
        LEVEL,
        identity=partial(identity, checkpoint=checkpoint),
    )  # fmt: skip


def _modalities(checkpoint: str) -> frozenset[str]:
    # The original was made of chest radiographs alone; the later two of CT and MR as well.
    return frozenset({"chest_xray"} if checkpoint == "radgraph" else ())


RADGRAPH_SIMPLE = _level("simple", "", "radgraph-xl")
RADGRAPH_PARTIAL = _level("partial", "", "radgraph-xl")
RADGRAPH_COMPLETE = _level("complete", "", "radgraph-xl")
RADGRAPH_SIMPLE_UNCASED = _level("simple", "_uncased", "radgraph-xl", fold=True)
RADGRAPH_PARTIAL_UNCASED = _level("partial", "_uncased", "radgraph-xl", fold=True)
RADGRAPH_COMPLETE_UNCASED = _level("complete", "_uncased", "radgraph-xl", fold=True)
RADGRAPH_SIMPLE_ORIGINAL = _level("simple", "_original", "radgraph")
RADGRAPH_PARTIAL_ORIGINAL = _level("partial", "_original", "radgraph")
RADGRAPH_COMPLETE_ORIGINAL = _level("complete", "_original", "radgraph")
RADGRAPH_SIMPLE_MODERN = _level("simple", "_modern", "modern-radgraph-xl")
RADGRAPH_PARTIAL_MODERN = _level("partial", "_modern", "modern-radgraph-xl")
RADGRAPH_COMPLETE_MODERN = _level("complete", "_modern", "modern-radgraph-xl")
RADGRAPH_COMBINED = MetricEntry(
    MetricSpec(
        "radgraph_combined", "higher", (0.0, 1.0), _modalities("radgraph"), "1", needs=(WEIGHTS["radgraph"].name,),
        source="CXR-Report-Metric 9c9ecad: half entity F1, half relation F1, checkpoint radgraph, case kept; corpus: mean",
    ),
    combined,
    COMBINED,
    identity=partial(identity, checkpoint="radgraph"),
)  # fmt: skip
