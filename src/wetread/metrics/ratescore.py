"""RaTEScore: whether the entities of draft and reference mean the same, negations and anatomy among them.

Zhao et al. 2024 (arXiv 2406.16845); numbers as RaTEScore 0.6.0 gives them with medspaCy 1.3.1 and PyRuSH 1.0.13. It pins
neither, and PyRuSH 1.0.9 and older split one text in 25 otherwise (``ratescore_sentences``), so other numbers exist.

A network finds entities of five types in each sentence, a second one gives each a vector. An entity a of one report is matched
with the b of the other whose cosine is highest:

    S(A→B) = Σ W[type a, type b]·p·cos(a, b) / Σ W[type a, type b],   RaTEScore = 2·S(A→B)·S(B→A) / (S(A→B) + S(B→A))

p is the negation weight where one of the two types is a "non-" type and the other is disease or abnormality, else 1. W and
the negation weight exist twice, fitted on whole reports (``ratescore_long``, the official default) and on sentences
(``ratescore_short``).

Traps. The long matrix hardly minds a flipped negation (0.87) and weighs normal statements by almost nothing. A draft without
entities scores 0.5, more than many real ones: as a reward it needs a guard.

Empty texts. Upstream gives 0.5 when one side has no entity, but fails on a text without a sentence, and inside a batch
compares all later drafts with the wrong reference. Here an empty draft has no entity and gets 0.5; an empty reference is
not scored (None).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wetread.metrics.encoder import opened
from wetread.metrics.entry import MEAN, MetricEntry, score_nonempty
from wetread.metrics.ratescore_sentences import sentences
from wetread.metrics.weights import VARIABLE, Precision, WeightsSpec, label, locate
from wetread.records import MetricSpec, Report, Score

FINDER = WeightsSpec(
    "RaTE-NER", "ratescore/ner", ("config.json", "tokenizer.json", "model.safetensors"), "Angelakeke/RaTE-NER-Deberta"
)
"""The network that finds entities."""
ENCODER = WeightsSpec(
    "BioLORD",
    "ratescore/encoder",
    ("config.json", "tokenizer_config.json", "vocab.txt", "model.safetensors"),
    "FremyCompany/BioLORD-2023-C",
)
"""The network that gives an entity its vector; ``tokenizer.json`` is used in place of ``vocab.txt`` where it lies there."""
_FOLDERS = {
    FINDER: ("ratescore/ner", "ratescore/RaTE-NER-Deberta", "RaTE-NER-Deberta", "ner"),
    ENCODER: ("ratescore/encoder", "ratescore/BioLORD-2023-C", "BioLORD-2023-C", "encoder"),
}

Matrix = Literal["long", "short"]
Entity = tuple[str, str]
"""Its text and its type."""
Match = tuple[NDArray[np.int64], NDArray[np.float32]]
"""For each entity the place of the nearest one of the other report, and the cosine."""

TYPES = ("ABNORMALITY", "ANATOMY", "DISEASE", "NON-ABNORMALITY", "NON-DISEASE")
"""Types of entities, in the order of the matrices below."""
WEIGHTS: Mapping[Matrix, NDArray[np.float64]] = {
    "long": np.array(
        (
            (0.4276119164393705, 0.6240929990607657, 0.0034478181112993847, 0.5431049700217344, 0.27005425386213877),
            (0.7487824274337533, 0.2856134859160784, 0.4592143222158069, 0.02097055139911715, 0.00013736314126696204),
            (0.8396510075734789, 0.9950209388542061, 0.8460555030578727, 0.9820689020512646, 0.3789136708096537),
            (0.16546764653692908, 0.018670610691852826, 0.719397354576018, 0.0009357166071730684, 0.0927333564267591),
            (0.7759420231214385, 0.1839139293714062, 0.10073046076318157, 0.03860183811876373, 0.34065681486566446),
        )
    ),
    "short": np.array(
        (
            (0.4070293318365468, 0.6952639610605605, 0.28342529466226446, 0.9479148658006686, 0.23875064111146294),
            (0.5829759950441763, 0.7709590751917746, 0.0006059634829551632, 0.794672584951181, 0.27982942400798977),
            (0.8840397619834857, 0.9637659445696822, 0.19018958438059513, 0.6962283914800402, 0.943727057946997),
            (0.1712744286898638, 0.4485149671497294, 0.00045065329822896076, 0.0007887930317199857, 0.8555432840895761),
            (0.9555801066212176, 0.13122106162635216, 0.6072996585919443, 0.05650711141169969, 0.3214769399791204),
        )
    ),
}
"""Weight of a match: own type by row, the other's by column; not symmetrical."""
NEGATION: Mapping[Matrix, float] = {"long": 0.8716553966489615, "short": 0.3611577852354489}
"""What a match of a finding with a denied one is multiplied by."""
TIE = 1e-5
"""Cosines nearer than this are equal but for rounding."""
NO_ENTITY = 0.5
"""Score when either side has no entity."""
_NEGATED = np.array([kind.startswith("NON-") for kind in TYPES])
_FINDINGS = np.array([kind in ("ABNORMALITY", "DISEASE") for kind in TYPES])
_FLIPPED = np.outer(_NEGATED, _FINDINGS) | np.outer(_FINDINGS, _NEGATED)


@dataclass(frozen=True)
class Entities:
    """The entities of one report."""

    texts: tuple[str, ...]
    """As the tokenizer spells them; some may be empty."""
    types: NDArray[np.int64]
    """Places in ``TYPES``, shape (n)."""
    vectors: NDArray[np.float32]
    """Unit vectors, shape (n, hidden)."""


def entities(texts: Sequence[str], weights: str | Path | None = None, precision: Precision = "fp32") -> list[Entities]:
    """Return the entities of each text, in order; each distinct sentence and each distinct entity is encoded once.

    Raises
    ------
    MissingError
        When the weights are not there, or are not those of RaTEScore.
    """
    from wetread.metrics.neural import ratescore as network  # torch, only when it is needed

    finder = opened(network.EntityFinder, find_weights(FINDER, weights), precision)
    encoder = opened(network.EntityEncoder, find_weights(ENCODER, weights), precision)
    # Half of a surrogate pair is no text; the tokenizers could not take it.
    split = {text: sentences(text.encode("utf-8", "replace").decode("utf-8")) for text in dict.fromkeys(texts)}
    distinct = list(dict.fromkeys(sentence for found in split.values() for sentence in found))
    named = {
        sentence: [(str(text), str(kind)) for text, kind in json.loads(found["entities"].tobytes())]
        for sentence, found in zip(distinct, finder(distinct), strict=True)
    }
    spelt = list(dict.fromkeys(text for found in named.values() for text, _ in found))
    vectors = {text: _unit(found["vector"]) for text, found in zip(spelt, encoder(spelt), strict=True)}
    made = {
        text: _gathered([entity for sentence in found for entity in named[sentence]], vectors)
        for text, found in split.items()
    }
    return [made[text] for text in texts]


def score_texts(
    drafts: Sequence[str],
    references: Sequence[str],
    weights: str | Path | None = None,
    matrix: Matrix = "long",
    precision: Precision = "fp32",
) -> list[float]:
    """Return the RaTEScore of each pair of plain texts of the same order and number, empty ones included."""
    found = entities([*drafts, *references], weights, precision)
    pairs = list(zip(found[: len(drafts)], found[len(drafts) :], strict=True))
    return score_entities(pairs, weights, matrix, precision)


def score_entities(
    pairs: Sequence[tuple[Entities, Entities]],
    weights: str | Path | None = None,
    matrix: Matrix = "long",
    precision: Precision = "fp32",
) -> list[float]:
    """Return the RaTEScore of each pair of draft and reference; 0.5 when either has no entity, NaN when a vector has.

    Where two entities of different types are equally near, as two of the same words are, upstream's choice is one of
    rounding. Such pairs are encoded once more as upstream does it, a report's entities in one batch, and nothing else is: so
    the score equals upstream's and does not depend on other reports.
    """
    scores = []
    for draft, reference in pairs:
        if not draft.texts or not reference.texts:
            scores.append(NO_ENTITY)
            continue
        to_reference, to_draft = _matched(draft, reference), _matched(reference, draft)
        if to_reference is None or to_draft is None:
            to_reference, to_draft = _matched_upstream(draft, reference, weights, precision)
        back = _directed(draft.types, reference.types, to_reference, matrix)
        there = _directed(reference.types, draft.types, to_draft, matrix)
        scores.append(2 * there * back / (there + back) if there + back else 0.0)
    return scores


def ratescore_long(
    drafts: Sequence[Report],
    references: Sequence[Report],
    *,
    weights: str | Path | None = None,
    precision: Precision = "fp32",
) -> list[Score]:
    """Score each draft by RaTEScore with the matrix for whole reports; the corpus value is the mean.

    Parameters
    ----------
    drafts, references
        Reports of the same order and length; an empty draft gives 0.5, an empty reference None.
    weights
        Folder that holds ``ratescore/ner`` and ``ratescore/encoder``; None: what the environment names, or the hub.
    precision
        What the two networks compute with.

    Returns
    -------
    list of Score
        At most 1, and 0 or more unless cosines are negative; ``counts`` holds how many entities each side has.

    Raises
    ------
    UsageError
        When the lengths differ.
    MissingError
        When the weights are not there, or are not those of RaTEScore.
    """
    return _scores("long", drafts, references, weights, precision)


def ratescore_short(
    drafts: Sequence[Report],
    references: Sequence[Report],
    *,
    weights: str | Path | None = None,
    precision: Precision = "fp32",
) -> list[Score]:
    """Score each draft by RaTEScore with the matrix for sentences; else as ``ratescore_long``."""
    return _scores("short", drafts, references, weights, precision)


def find_weights(spec: WeightsSpec, weights: str | Path | None = None) -> Path:
    """Return the folder of one of the two networks: the one that ``spec`` names or one with the name it has on the hub.

    Raises
    ------
    MissingError
        As ``weights.locate``.
    """
    named = weights if weights is not None else os.environ.get(VARIABLE)
    folders = [one for one in _FOLDERS[spec] if named and (Path(named) / one / "config.json").is_file()]
    return locate(replace(spec, folder=folders[0]) if folders else spec, weights).resolve()


def identity(weights: str | None, precision: Precision) -> tuple[str, ...]:
    """Return what RaTEScore is made with; see ``MetricEntry.made_with``."""
    from wetread.metrics.neural.ratescore import files

    return tuple(label(spec.name, files(find_weights(spec, weights)), precision) for spec in (FINDER, ENCODER))


def _scores(
    matrix: Matrix,
    drafts: Sequence[Report],
    references: Sequence[Report],
    weights: str | Path | None,
    precision: Precision,
) -> list[Score]:
    name = f"ratescore_{matrix}"

    def scores(ours: list[str], theirs: list[str]) -> list[Score]:
        texts = [text for pair in zip(ours, theirs, strict=True) for text in pair]
        found = entities(texts, weights, precision) if texts else []
        judged = list(zip(found[::2], found[1::2], strict=True))
        made = zip(score_entities(judged, weights, matrix, precision), judged, strict=True)
        return [_score(name, value, pair) for value, pair in made]

    return score_nonempty(name, drafts, references, scores)


def _score(name: str, value: float, pair: tuple[Entities, Entities]) -> Score:
    if np.isnan(value):
        return Score(name, None, "an entity has a vector that is no number")
    counts = zip(("draft_entities", "reference_entities"), pair, strict=True)
    return Score(name, value, counts={key: float(len(found.texts)) for key, found in counts})


def _matched(own: Entities, other: Entities) -> Match | None:
    """Return for each entity the nearest of the other side and the cosine; None where that hangs on rounding."""
    # Not by a matrix product, whose sums hang on the number of threads.
    cosines = np.einsum("ik,jk->ij", own.vectors, other.vectors)
    best, highest = cosines.argmax(axis=1), cosines.max(axis=1)
    rivals = (cosines > highest[:, None] - TIE) & (other.types[None, :] != other.types[best][:, None])
    return None if rivals.any() else (best, highest)


def _matched_upstream(
    draft: Entities, reference: Entities, weights: str | Path | None, precision: Precision
) -> tuple[Match, Match]:
    from wetread.metrics.neural import ratescore as network

    encoder = opened(network.ListEncoder, find_weights(ENCODER, weights), precision)
    lists = encoder([json.dumps(one.texts) for one in (draft, reference)])
    ours, theirs = (found["vectors"].astype(np.float32) for found in lists)
    return network.nearest(ours, theirs), network.nearest(theirs, ours)


def _directed(own: NDArray[np.int64], other: NDArray[np.int64], match: Match, matrix: Matrix) -> float:
    """Return S(own→other) of two reports' types and what their entities were matched with."""
    best, cosines = match
    types = own, other[best]
    share = WEIGHTS[matrix][types]
    factor = np.where(_FLIPPED[types], NEGATION[matrix], 1.0)
    total = float(share.sum())
    return float((share * factor * cosines.astype(np.float64)).sum()) / total if total else 0.0


def _gathered(found: Sequence[Entity], vectors: Mapping[str, NDArray[np.float32]]) -> Entities:
    stacked = np.stack([vectors[text] for text, _ in found]) if found else np.empty((0, 0), dtype=np.float32)
    types = np.array([TYPES.index(kind) for _, kind in found], dtype=np.int64)
    return Entities(tuple(text for text, _ in found), types, stacked)


def _unit(vector: NDArray[np.generic]) -> NDArray[np.float32]:
    found = vector.astype(np.float32)
    return found / max(float(np.linalg.norm(found)), 1e-12)


def _entry(matrix: Matrix) -> MetricEntry:
    spec = MetricSpec(
        f"ratescore_{matrix}",
        "higher",
        (0.0, 1.0),
        frozenset(),
        "1",
        (FINDER.name, ENCODER.name),
        f"Zhao 2024, RaTEScore 0.6.0, {matrix} matrix, PyRuSH 1.0.13's sentences; corpus: mean",
        empty_draft=f"{NO_ENTITY}, as any text without an entity",
    )
    return MetricEntry(spec, ratescore_long if matrix == "long" else ratescore_short, MEAN, identity=identity)


RATESCORE_LONG = _entry("long")
RATESCORE_SHORT = _entry("short")
