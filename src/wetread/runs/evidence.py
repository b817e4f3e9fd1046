"""The perception tree of a draft with its evidence: where each finding was perceived, and where the report states it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wetread.knowledge import Knowledge, load
from wetread.knowledge.tree import fill
from wetread.records import Draft, Finding


def tree(draft: Draft, stated: Sequence[Finding], knowledge: Knowledge | None = None) -> list[dict[str, Any]]:
    """Return the regions that something is said of, in walking order.

    Parameters
    ----------
    draft
        What was drafted, with its thought where it has one.
    stated
        What its report claims and denies, with spans in ``report.text``.

    Returns
    -------
    list
        ``region``, ``title`` and ``findings``, each a finding with ``seen`` (its words in the thought, None where the
        thought does not have it) and ``stated`` (its place in the report's text, None where the report does not).
    """
    known = load() if knowledge is None else knowledge
    thought = draft.thought
    seen = {_key(one): one for one in (thought.perception if thought else ())}
    said = {_key(one): one for one in stated}
    regions = []
    for branch in fill([*said.values(), *(one for key, one in seen.items() if key not in said)], known):
        found = []
        for claim in branch.claims:
            here, there = seen.get(_key(claim)), said.get(_key(claim))
            words = thought.text[slice(*here.span)] if thought and here and here.span else None
            place = list(there.span) if there and there.span else None
            told = {name: value for name, value in claim.to_json().items() if name not in ("span", "denied", "likely")}
            found.append({**told, "seen": words, "stated": place})
        if found:
            regions.append({"region": branch.region, "title": branch.title, "findings": found})
    return regions


def _key(one: Finding) -> tuple[str, ...]:
    return one.name, one.presence, one.side, one.location, one.severity, one.change
