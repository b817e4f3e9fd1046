"""How a study compares with the one before it: the strata of longitudinal evaluation."""

from __future__ import annotations

from typing import Literal

from wetread.knowledge import extract
from wetread.records import Study

Temporal = Literal["first", "new", "worse", "better", "unchanged"]

_ORDER: tuple[tuple[Temporal, frozenset[str]], ...] = (
    ("new", frozenset({"new"})),
    ("worse", frozenset({"increased"})),
    ("better", frozenset({"decreased", "resolved"})),
)


def temporal(study: Study) -> Temporal:
    """Return what has changed since the study before; ``first`` where there is none.

    The truth says it where it is known, else what the reference report claims. A study with several changes is what comes
    first of new, worse and better: a new finding asks for more than one that has grown, and either for more than one that
    is going. The five classes are those of UniRG's evaluation (arXiv 2601.17151), which a language model assigned.
    """
    if study.prior is None:
        return "first"
    found = study.findings if study.findings is not None else extract(study.report) if study.report else ()
    changes = {finding.change for finding in found}
    return next((name for name, kinds in _ORDER if kinds & changes), "unchanged")
