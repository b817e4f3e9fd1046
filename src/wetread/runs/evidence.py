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
    perceived = list(dict.fromkeys(thought.perception)) if thought else []
    claims = {_key(one): one for one in reversed(stated)}  # of what is stated twice the first place counts
    said = [claims[key] for key in dict.fromkeys(map(_key, stated))]
    seen = {id(claim): next((one for one in perceived if _same(one, claim)), None) for claim in said}
    alone = [one for one in perceived if not any(_same(one, claim) for claim in said)]
    regions = []
    for branch in fill([*said, *alone], known):
        found = []
        for claim in branch.claims:
            here = seen.get(id(claim), claim)
            words = thought.text[slice(*here.span)] if thought and here and here.span else None
            place = list(claim.span) if id(claim) in seen and claim.span else None
            told = {name: value for name, value in claim.to_json().items() if name not in ("span", "denied", "likely")}
            found.append({**told, "seen": words, "stated": place})
        if found:
            regions.append({"region": branch.region, "title": branch.title, "findings": found})
    return regions


def _key(one: Finding) -> tuple[str, ...]:
    return one.name, one.presence, one.side, one.location, one.severity, one.change


def _same(seen: Finding, stated: Finding) -> bool:
    """Whether both are about one finding: of one name, claimed or denied alike, on sides that may be one; grades may differ."""
    alike = seen.name == stated.name and (seen.presence == "absent") == (stated.presence == "absent")
    return alike and (seen.side == stated.side or not {seen.side, stated.side}.isdisjoint({"", "bilateral"}))
