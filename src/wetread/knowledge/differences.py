"""How two reports differ: the six kinds of error that CheXprompt counts, found without a model.

Rules
-----
- An uncertain finding counts as present: a hedge is no error.
- Findings pair one to one by name, the pair with the better side and location first. What is left pairs by parent: a
  generic name in one text ("support devices", "fracture", "lung opacity") and a finding below it in the other count as
  found when their sides and locations do not conflict; only their comparison is judged then.
- "Bilateral" in one text and left plus right in the other are the same.
- ``wrong_location``: sides differ, the reference states a side and the draft none, or both state a location and neither
  lies within the other. ``wrong_severity``: both state a grade and they differ. A detail that the reference leaves open
  is no error.
- ``false_comparison``: the draft states a change that the reference does not state, or states differently.
  ``omitted_comparison``: the reference states a change and the draft none. "Resolved" is a comparison too.
- What a draft claims and denies outright is omitted when the reference claims it plainly: a reader cannot act on both.
- Otherwise swapping the texts turns false into omitted findings and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from wetread.knowledge.extract import extract
from wetread.knowledge.ontology import Knowledge, load
from wetread.records import Finding, Report

Kind = Literal[
    "false_finding", "omitted_finding", "wrong_location", "wrong_severity", "false_comparison", "omitted_comparison"
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Difference:
    """One error of a draft against its reference."""

    kind: Kind
    """Which of the six kinds."""
    finding: str
    """Name of the finding."""
    significant: bool
    """Whether it matters clinically: the finding is urgent or actionable."""
    reference: Finding | None = None
    """What the reference says, be it a denial; None when it says nothing."""
    draft: Finding | None = None
    """What the draft says, be it a denial; None when it says nothing."""


def differences(
    reference: Report | str | Sequence[Finding],
    draft: Report | str | Sequence[Finding],
    knowledge: Knowledge | None = None,
) -> tuple[Difference, ...]:
    """Return the errors of a draft; empty when it says the same as the reference.

    Parameters
    ----------
    reference, draft
        Reports, their texts, or findings that were extracted before (or are true of a phantom).
    knowledge
        Whose findings and urgencies to use; None: chest X-ray.

    >>> [(d.kind, d.finding) for d in differences("Small left effusion.", "Small right effusion. Cardiomegaly.")]
    [('false_finding', 'cardiomegaly'), ('wrong_location', 'pleural effusion')]
    """
    known = load() if knowledge is None else knowledge
    truth, claim = _findings(reference, known), _findings(draft, known)
    claim = without(claim, contradicted(claim, truth))
    wanted, given = _unite(_stated(truth), _stated(claim)), _unite(_stated(claim), _stated(truth))
    errors: list[Difference] = []
    pairs, missing, extra = _pair(wanted, given, known)
    errors.extend(_error(known, "omitted_finding", item, _denial(item, claim)) for item in missing)
    errors.extend(_error(known, "false_finding", _denial(item, truth), item) for item in extra)
    for one, other in pairs:
        errors.extend(_error(known, kind, one, other) for kind in _pair_errors(one, other, known))
    errors.extend(_resolved_errors(truth, claim, known))
    errors.sort(key=lambda error: (KINDS.index(error.kind), error.finding))
    return tuple(errors)


def contradicted(claim: Sequence[Finding], truth: Sequence[Finding]) -> frozenset[str]:
    """Return the names of what a draft both claims and denies, and its reference claims without denying it.

    Such a claim earns nothing: a reader cannot act on it, and a policy that is paid for it learns to say everything twice.
    Where the reference lacks the finding, the claim is as false as any other; where it says both itself, so may the draft.
    """
    doubtful = {finding.name for finding in claim if finding.denied is not None}
    if not doubtful:
        return frozenset()
    return frozenset(f.name for f in truth if f.name in doubtful and f.presence != "absent" and f.denied is None)


def without(claim: Sequence[Finding], names: frozenset[str]) -> tuple[Finding, ...]:
    """Return the findings with the named ones turned into their denials."""
    if not names:
        return tuple(claim)
    return tuple(replace(f, presence="absent", span=f.denied, denied=None) if f.name in names else f for f in claim)


def _findings(given: Report | str | Sequence[Finding], knowledge: Knowledge) -> tuple[Finding, ...]:
    if isinstance(given, (Report, str)):
        return extract(given, knowledge)
    return tuple(given)


def _stated(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.presence != "absent"]


def _unite(findings: list[Finding], other: list[Finding]) -> list[Finding]:
    """Join left and right of one name where the other text says "bilateral"."""
    bilateral = {finding.name for finding in other if finding.side == "bilateral"}
    united: list[Finding] = []
    for finding in findings:
        mates = [
            index
            for index, mate in enumerate(united)
            if finding.name in bilateral
            and mate.name == finding.name
            and {mate.side, finding.side} == {"left", "right"}
            and mate.location == finding.location
        ]
        if mates:
            united[mates[0]] = replace(united[mates[0]], side="bilateral")
        else:
            united.append(finding)
    return united


def _side_agreement(one: Finding, other: Finding) -> int:
    if one.side == other.side:
        return 3
    if not one.side or not other.side:
        return 2
    return 1 if "bilateral" in (one.side, other.side) else 0


def _near(one: str, other: str, knowledge: Knowledge) -> bool:
    """Whether two locations do not conflict: equal, one not stated, or one within the other."""
    within = knowledge.within
    return one == other or not one or not other or within.get(one) == other or within.get(other) == one


def _pair(
    wanted: list[Finding], given: list[Finding], knowledge: Knowledge
) -> tuple[list[tuple[Finding, Finding]], list[Finding], list[Finding]]:
    """Return pairs, what only the reference says, and what only the draft says."""
    ranked: list[tuple[int, int, int, int]] = []
    for i, one in enumerate(wanted):
        for j, other in enumerate(given):
            agreement = 4 * _side_agreement(one, other) + 2 * (one.location == other.location)
            agreement += _near(one.location, other.location, knowledge)
            if one.name == other.name:
                ranked.append((-100 - agreement, i + j, i, j))
            elif _generic(one, other, knowledge):
                ranked.append((-agreement, i + j, i, j))
    ranked.sort()
    left, right = set(range(len(wanted))), set(range(len(given)))
    pairs = []
    for _, _, i, j in ranked:
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
            pairs.append((wanted[i], given[j]))
    return pairs, [wanted[i] for i in sorted(left)], [given[j] for j in sorted(right)]


def _generic(one: Finding, other: Finding, knowledge: Knowledge) -> bool:
    related = one.name in knowledge.ancestors(other.name) or other.name in knowledge.ancestors(one.name)
    return related and _side_agreement(one, other) >= 2 and _near(one.location, other.location, knowledge)


def _pair_errors(reference: Finding, draft: Finding, knowledge: Knowledge) -> list[Kind]:
    found: list[Kind] = []
    if reference.name == draft.name:
        sided = bool(reference.side) and reference.side != draft.side
        if sided or not _near(reference.location, draft.location, knowledge):
            found.append("wrong_location")
        if reference.severity and draft.severity and reference.severity != draft.severity:
            found.append("wrong_severity")
    if draft.change and draft.change != reference.change:
        found.append("false_comparison")
    elif reference.change and not draft.change:
        found.append("omitted_comparison")
    return found


def _denial(finding: Finding, said: Sequence[Finding]) -> Finding | None:
    """Return where the other text denies a finding, so that a reader sees both sides; None when it says nothing."""
    absent = (f for f in said if f.presence == "absent" and f.name == finding.name)
    return next((f for f in absent if f.change != "resolved" and _side_agreement(f, finding) >= 2), None)


def _resolved_errors(truth: Sequence[Finding], claim: Sequence[Finding], knowledge: Knowledge) -> list[Difference]:
    """Return the errors about findings that are gone: said to be resolved by one text only."""
    gone = [f for f in truth if f.change == "resolved"]
    said = [f for f in claim if f.change == "resolved"]
    errors = []
    for finding in gone:
        mate = next((f for f in said if f.name == finding.name and _side_agreement(f, finding)), None)
        if mate is None:
            errors.append(_error(knowledge, "omitted_comparison", finding, None))
        else:
            said.remove(mate)
    errors.extend(_error(knowledge, "false_comparison", None, finding) for finding in said)
    return errors


def _error(knowledge: Knowledge, kind: Kind, reference: Finding | None, draft: Finding | None) -> Difference:
    name = (reference or draft).name  # type: ignore[union-attr]
    spec = knowledge.findings.get(name)
    return Difference(kind, name, spec.significant if spec else True, reference, draft)
