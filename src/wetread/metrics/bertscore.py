"""BERTScore as ReXrank computes it: distilroberta-base, layer 5, rescaled with the published baseline, no IDF, F1.

Formula: Zhang et al. 2020. Every token of one text is matched with the most similar token of the other (cosine of their
vectors after layer 5); precision is the mean over the draft's tokens, recall over the reference's, F their harmonic mean.
``<s>`` and ``</s>`` can be matched with but are not averaged over. Then ``(F - b) / (1 - b)`` with the baseline b of the layer.
The text is cut after 512 tokens, runs of spaces count as one, case is kept.

No IDF: with IDF taken from the references of a batch a score depends on the batch, and in a group of equal references
every weight is 0 and every score -5.55.

Empty texts, as in the official code: an empty draft has F = 0, so its score is ``FLOOR`` (-5.5502). An empty reference is
not scored here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wetread.metrics.entry import Aggregation, MetricEntry, check_lengths, fold_mean, mean_keys
from wetread.metrics.weights import VARIABLE, Precision, WeightsSpec, label, locate
from wetread.records import MetricSpec, Report, Score

LAYER = 5
"""Layer whose vectors are compared."""
BASELINES: dict[int, tuple[float, float, float]] = {
    0: (0.42608285, 0.4272089, 0.42462298),
    1: (0.7367886, 0.7370362, 0.736573),
    2: (0.79922664, 0.799593, 0.7991632),
    3: (0.8329021, 0.8333321, 0.83291864),
    4: (0.8442, 0.84462386, 0.84425896),
    5: (0.84732, 0.84759504, 0.8473319),
    6: (0.89334005, 0.8935088, 0.8933471),
}
"""Layer of distilroberta-base to what precision, recall and F of unrelated English sentences are (bert_score 0.3.13)."""
FLOOR = (0.0 - BASELINES[LAYER][2]) / (1.0 - BASELINES[LAYER][2])
"""Score of a text with nothing in common, not even direction; that of an empty draft."""

WEIGHTS = WeightsSpec(
    name="BERTScore (distilroberta-base)",
    folder="bertscore",
    files=("config.json", "vocab.json", "merges.txt", "model.safetensors"),
    hub="distilbert/distilroberta-base",
)
"""The official files; ``pytorch_model.bin`` may stand in for ``model.safetensors``."""
_FOLDERS = ("bertscore", "bertscore/distilroberta-base", "distilroberta-base", ".")


def find_weights(weights: str | Path | None = None) -> Path:
    """Return the folder of distilroberta-base: ``bertscore/`` below the weights folder, or ``distilroberta-base/`` there.

    Raises
    ------
    MissingError
        As ``weights.locate``.
    """
    named = weights if weights is not None else os.environ.get(VARIABLE)
    if not named:
        return locate(WEIGHTS)
    for folder in _FOLDERS:
        if (Path(named) / folder / "vocab.json").is_file() and (Path(named) / folder / "merges.txt").is_file():
            here = replace(WEIGHTS, folder=folder)
            if (Path(named) / folder / "pytorch_model.bin").is_file():
                here = replace(here, files=WEIGHTS.files[:-1])
            return locate(here, named)
    return locate(WEIGHTS, named)


def identity(weights: str | None, precision: Precision) -> tuple[str, ...]:
    """Return what BERTScore is made with; see ``MetricEntry.made_with``."""
    from wetread.metrics.neural.bertscore import files

    return (label("distilroberta-base", files(find_weights(weights)), precision),)


def rescale(values: Sequence[float], layer: int = LAYER) -> tuple[float, float, float]:
    """Return precision, recall and F rescaled by the baselines of a layer.

    >>> [round(value, 4) for value in rescale((0.0, 0.0, 0.0))]
    [-5.5496, -5.5615, -5.5502]
    """
    p, r, f = ((value - low) / (1.0 - low) for value, low in zip(values, BASELINES[layer], strict=True))
    return p, r, f


def bertscore(
    drafts: Sequence[Report],
    references: Sequence[Report],
    *,
    weights: str | Path | None = None,
    precision: Precision = "fp32",
) -> list[Score]:
    """Score each draft by rescaled BERTScore F1; the corpus value is the mean.

    Parameters
    ----------
    drafts, references
        Reports of the same order and length.
    weights
        Folder that holds ``bertscore/``; None: what the environment names, or the hub.
    precision
        What the network computes with.

    Returns
    -------
    list of Score
        At most 1; ``counts`` holds the rescaled ``precision`` and ``recall``.

    Raises
    ------
    UsageError
        When the lengths differ.
    MissingError
        When the weights are not there or are not those of distilroberta-base.
    """
    check_lengths(drafts, references)
    judged = [place for place, reference in enumerate(references) if reference]
    found = [Score("bertscore", None, "the reference report is empty") for _ in drafts]
    if not judged:
        return found
    from wetread.metrics.neural import bertscore as network

    scorer = network.opened(find_weights(weights), precision)
    values = scorer([(drafts[place].text, references[place].text) for place in judged])
    for place, raw in zip(judged, values, strict=True):
        p, r, f = rescale(raw)
        found[place] = Score("bertscore", f, counts={"precision": p, "recall": r})
    return found


def _precision_recall(score: Score) -> tuple[float, float]:
    return score.counts["precision"], score.counts["recall"]


BERTSCORE = MetricEntry(
    MetricSpec(
        "bertscore", "higher", (FLOOR, 1.0), frozenset(), "1", needs=("distilroberta-base",),
        source="Zhang 2020, ReXrank's variant: distilroberta-base, layer 5, rescaled with baseline, no IDF, F1; corpus: mean",
        empty_draft=f"{FLOOR:.4f}",
    ),
    bertscore,
    Aggregation(mean_keys, fold_mean, _precision_recall),
    identity=identity,
)  # fmt: skip
