"""The one encoder of all model metrics: every distinct text is encoded once, in batches of like length, and kept.

A metric's model says how long a text is and what it finds in a batch (``TextModel``). Which texts share a batch depends on
their lengths alone, so the order of the reports and their repetition change nothing.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from wetread.metrics.cache import VARIABLE, Cache, Features
from wetread.metrics.weights import Precision

MEMORY = 1 << 29
"""Bytes of features that are kept in memory, per model; what one call asks for is kept whatever it takes."""
BUDGET = 4_096
"""Tokens of a batch, padding included; a text that is longer is a batch of its own."""
_OFF = "off"


class TextModel(Protocol):
    """What a metric's model does with texts."""

    signature: str
    """Name, version, contents of the weights and precision; features with equal signatures are interchangeable."""

    def length(self, text: str) -> int:
        """Return the tokens of a text as the model sees it."""
        ...

    def run(self, texts: Sequence[str]) -> list[Features]:
        """Return the features of each text of one batch, in order."""
        ...


class Encoder:
    """A model with its memory and its cache."""

    def __init__(self, model: TextModel, cache: Cache | None = None, budget: int = BUDGET) -> None:
        self.model = model
        self.cache = cache
        self.budget = budget
        self._memory: OrderedDict[str, Features] = OrderedDict()
        self._bytes = 0

    def __call__(self, texts: Sequence[str]) -> list[Features]:
        """Return the features of each text, in order; each distinct one is encoded once."""
        distinct = dict.fromkeys(texts)
        known = {text: self._memory[text] for text in distinct if text in self._memory}
        missing = [text for text in distinct if text not in known]
        if missing and self.cache is not None:
            stored = self.cache.get(self.model.signature, missing)
            known |= stored
            missing = [text for text in missing if text not in stored]
        for batch in self.batches(missing):
            made = dict(zip(batch, self.model.run(batch), strict=True))
            known |= made
            if self.cache is not None:
                self.cache.put(self.model.signature, made)
        for text in distinct:
            if text not in self._memory:
                self._memory[text] = known[text]
                self._bytes += _size(known[text])
            self._memory.move_to_end(text)
        while self._bytes > MEMORY and len(self._memory) > len(distinct):
            self._bytes -= _size(self._memory.popitem(last=False)[1])
        return [known[text] for text in texts]

    def batches(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the texts in batches of like length, the longest first; equal lengths in the order of the alphabet."""
        lengths = {text: self.model.length(text) for text in texts}
        found: list[list[str]] = []
        for text in sorted(lengths, key=lambda one: (-lengths[one], one)):
            if found and lengths[found[-1][0]] * (len(found[-1]) + 1) <= self.budget:
                found[-1].append(text)
            else:
                found.append([text])
        return found


def _size(features: Features) -> int:
    return sum(one.nbytes for one in features.values())


@lru_cache(maxsize=16)
def opened(build: Callable[[Path, Precision], TextModel], folder: Path, precision: Precision = "fp32") -> Encoder:
    """Return the encoder of ``build(folder, precision)``, loaded once per process; ``build`` is a module-level function."""
    return Encoder(build(folder, precision), default_cache())


def default_cache() -> Cache | None:
    """Return the cache that ``WETREAD_CACHE`` names, else the one in the user's cache folder; None when it is ``off``."""
    named = os.environ.get(VARIABLE, "")
    if named == _OFF:
        return None
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Cache(Path(named) if named else home / "wetread" / "features.sqlite")
