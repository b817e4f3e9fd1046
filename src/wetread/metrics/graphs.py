"""RadGraph annotations: what a report states as a graph of entities and relations, and how two graphs are compared.

Nothing here needs weights. A graph is what the network of ``metrics.neural.radgraph`` found in a text, or an annotation in
the form that the ``radgraph`` package writes. The word splitting and the sets compared are those of radgraph 0.1.18; the
last pair of sets (``entities``, ``relations``) is that of CXR-Report-Metric.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import regex
from numpy.typing import NDArray

Piece = tuple[object, ...]
"""One thing that a graph states, as a level of comparison sees it."""
Facet = Callable[["Graph", bool], frozenset[Piece]]
"""What of a graph is compared: the graph and whether words are lower-cased first."""

# The engine that NLTK 3.10 splits with. To it combining marks are of a word and ² and ½ are not, unlike to ``re``.
_RUN = regex.compile(r"\w+|[^\w\s]+")
_PUNCTUATION = "[/,:.!?()]"
_EDGE = re.compile(rf"(?<! )(?={_PUNCTUATION})|(?<={_PUNCTUATION})(?! )")
# Both are spelled out in report files as they are here: a backslash and what follows it.
_ESCAPES = (("\\n", "  "), ("\\f", "  "), ("\\u2122", " " * 6), ("\n", " "), ('\\"', "``"))
_APART = (").", ") ."), ("%.", "% ."), (".'", ". '"), ("%,", "% ,"), ("%)", "% )")


def words_of(text: str, model: str) -> tuple[str, ...]:
    r"""Return the words that the checkpoint called ``model`` reads; none in a text without any.

    ``radgraph`` sets ``/ , : . ! ? ( )`` apart and splits on white space. All others split into runs of letters and digits
    and runs of anything else, after the escapes of report files (a written-out ``\n``) have become spaces.

    >>> words_of("No effusion (3.5 cm).", "radgraph")
    ('No', 'effusion', '(', '3', '.', '5', 'cm', ')', '.')
    >>> words_of("Left-sided (55%).", "radgraph-xl")
    ('Left', '-', 'sided', '(', '55', '%', ')', '.')
    """
    if model == "radgraph":
        return tuple(_EDGE.sub(" ", text).split())
    for written, meant in _ESCAPES:
        text = text.replace(written, meant)
    text = " ".join(_RUN.findall(" ".join(text.split())))
    for together, apart in _APART:
        text = text.replace(together, apart)
    return tuple(text.split())


@dataclass(frozen=True)
class Entity:
    """A span of words that names an anatomy or an observation."""

    tokens: str
    """Its words, with a space between."""
    label: str
    """Its kind and certainty, in the checkpoint's own terms: ``ANAT-DP``, ``Observation::definitely absent``."""
    start: int
    """Number of its first word."""
    end: int
    """Number of its last word, inclusive."""


@dataclass(frozen=True, eq=False)
class Graph:
    """What one report states."""

    words: tuple[str, ...] = ()
    """The report's words."""
    entities: tuple[Entity, ...] = ()
    """Its entities, by first word and then by length."""
    links: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 3), dtype=np.int32))
    """Its relations, of shape (relations, 3): number of the entity, of the other entity, and of the name in ``names``.

    A report of a model out of hand can have millions of them, so they are kept as numbers."""
    names: tuple[str, ...] = ()
    """Names of the relations."""

    @classmethod
    def of(
        cls, words: Sequence[str], spans: Iterable[tuple[int, int, str]], links: Any = (), names: Sequence[str] = ()
    ) -> Graph:
        """Return the graph of ``words`` from its entities (first word, last word, label) and its links."""
        entities = tuple(Entity(" ".join(words[first : last + 1]), label, first, last) for first, last, label in spans)
        return cls(tuple(words), entities, np.asarray(links, dtype=np.int32).reshape(-1, 3), tuple(names))

    @classmethod
    def from_annotation(cls, annotation: Mapping[str, Any]) -> Graph:
        """Return the graph of an annotation in the package's form, in which entities are called "1", "2" and so on."""
        rows = annotation["entities"]
        places = {key: place for place, key in enumerate(rows)}
        told = [(places[key], places[to], name) for key, row in rows.items() for name, to in row["relations"]]
        names = sorted({name for _, _, name in told})
        entities = tuple(Entity(row["tokens"], row["label"], row["start_ix"], row["end_ix"]) for row in rows.values())
        links = np.array([(one, other, names.index(name)) for one, other, name in told], dtype=np.int32).reshape(-1, 3)
        return cls(tuple(annotation["text"].split()), entities, links, tuple(names))

    def to_annotation(self) -> dict[str, Any]:
        """Return the annotation in the form that the ``radgraph`` package gives one text."""
        relations: list[list[list[str]]] = [[] for _ in self.entities]
        for one, other, name in self.links.tolist():
            relations[one].append([self.names[name], str(other + 1)])
        return {
            "text": " ".join(self.words),
            "entities": {
                str(place + 1): {
                    "tokens": entity.tokens,
                    "label": entity.label,
                    "start_ix": entity.start,
                    "end_ix": entity.end,
                    "relations": relations[place],
                }
                for place, entity in enumerate(self.entities)
            },
            "data_source": None,
            "data_split": "inference",
        }


def simple(graph: Graph, fold: bool = False) -> frozenset[Piece]:
    """Return the entities as (words, label)."""
    return frozenset(_named(graph, fold))


def partial(graph: Graph, fold: bool = False) -> frozenset[Piece]:
    """Return the entities as (words, label), with a third part, True, for those that a relation leaves."""
    linked = _linked(graph)
    return frozenset((*piece, True) if place in linked else piece for place, piece in enumerate(_named(graph, fold)))


def complete(graph: Graph, fold: bool = False) -> frozenset[Piece]:
    """Return (words, label) of each entity that no relation leaves, else (words, label, relation, other's words) of each.

    Words of entities with a relation are lower-cased in every version of the package.
    """
    linked = _linked(graph)
    alone = {piece for place, piece in enumerate(_named(graph, fold)) if place not in linked}
    lower = _named(graph, fold=True)
    told = _distinct(graph, lower, [words for words, _ in lower])
    return frozenset(alone | {(*lower[one], graph.names[name], lower[other][0]) for one, other, name in told})


def relations(graph: Graph, fold: bool = False) -> frozenset[Piece]:
    """Return the relations as (entity, other entity, name), an entity being (words, label)."""
    named = _named(graph, fold)
    return frozenset(
        (named[one], named[other], graph.names[name]) for one, other, name in _distinct(graph, named, named)
    )


LEVELS: Mapping[str, Facet] = {"simple": simple, "partial": partial, "complete": complete}
"""The three levels of the package, also called RG_E, RG_ER and RG_ER-bar."""


def overlap(draft: frozenset[Piece], reference: frozenset[Piece]) -> dict[str, float]:
    """Return tp, fp and fn: what both state, the draft alone, the reference alone."""
    both = len(draft & reference)
    return {"tp": float(both), "fp": float(len(draft) - both), "fn": float(len(reference) - both)}


def f1(counts: Mapping[str, float]) -> float:
    """Return ``2·tp / (2·tp + fp + fn)``; 0 where nothing is stated on either side, as in all the official codes.

    >>> f1({"tp": 1.0, "fp": 0.0, "fn": 2.0}), f1({"tp": 0.0, "fp": 0.0, "fn": 0.0})
    (0.5, 0.0)
    """
    total = 2 * counts["tp"] + counts["fp"] + counts["fn"]
    return 2 * counts["tp"] / total if total else 0.0


def _named(graph: Graph, fold: bool) -> list[tuple[str, str]]:
    return [(one.tokens.lower() if fold else one.tokens, one.label) for one in graph.entities]


def _linked(graph: Graph) -> frozenset[int]:
    return frozenset(np.unique(graph.links[:, 0]).tolist())


def _distinct(graph: Graph, near: Sequence[Hashable], far: Sequence[Hashable]) -> list[list[int]]:
    """Return one of the links of each kind: those whose entities look alike, in ``near`` and in ``far``, and whose name is one."""
    if not len(graph.links):
        return []
    one, other, name = graph.links.T.astype(np.int64)
    kinds = (_numbered(near)[one] * len(far) + _numbered(far)[other]) * len(graph.names) + name
    return cast(list[list[int]], graph.links[np.unique(kinds, return_index=True)[1]].tolist())


def _numbered(values: Sequence[Hashable]) -> NDArray[np.int64]:
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int64)
