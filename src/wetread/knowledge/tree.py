"""The perception tree: region → finding → attributes, as a checklist and as what a study shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from wetread.knowledge.ontology import RANK, Knowledge, load
from wetread.records import Finding


@dataclass(frozen=True)
class Branch:
    """One region of the tree."""

    region: str
    """Name of the region."""
    title: str
    """Its title in reports and checklists."""
    names: tuple[str, ...]
    """Findings to look for, in file order."""
    claims: tuple[Finding, ...] = ()
    """What is known of them; empty on a bare tree."""


def grow(knowledge: Knowledge | None = None, keep: Collection[str] | None = None) -> tuple[Branch, ...]:
    """Return the bare tree.

    Parameters
    ----------
    knowledge
        Whose regions and findings; None: chest X-ray.
    keep
        Names to keep; urgent findings stay even when they are not among them, since pruning by frequency would remove
        exactly what must not be missed. None: all.
    """
    known = load() if knowledge is None else knowledge
    branches = []
    for region, title in known.regions.items():
        names = tuple(
            spec.name
            for spec in known.findings.values()
            if spec.region == region
            and not spec.normal
            and (keep is None or spec.name in keep or spec.urgency == "urgent")
        )
        if names:
            branches.append(Branch(region, title, names))
    return tuple(branches)


def fill(findings: Iterable[Finding], knowledge: Knowledge | None = None) -> tuple[Branch, ...]:
    """Return the tree of one study: every region with what is claimed of it, present before uncertain before absent.

    Findings that the knowledge file does not hold are left out.

    >>> [branch.region for branch in fill([Finding("pneumothorax", side="left")]) if branch.claims]
    ['pleura']
    """
    known = load() if knowledge is None else knowledge
    order = {name: rank for rank, name in enumerate(known.findings)}
    presence = {"present": 0, "uncertain": 1, "absent": 2}
    claims: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.name in known:
            claims.setdefault(known[finding.name].region, []).append(finding)
    for items in claims.values():
        items.sort(key=lambda f: (presence[f.presence], order[f.name], f.side, f.location))
    return tuple(
        Branch(branch.region, branch.title, branch.names, tuple(claims.get(branch.region, ())))
        for branch in grow(known)
    )


def serialise(
    branches: Iterable[Branch] | None = None, *, budget: int | None = None, knowledge: Knowledge | None = None
) -> str:
    """Return the tree as short text, one line a region.

    Parameters
    ----------
    branches
        A filled tree (what is claimed is written, with attributes only under present and uncertain) or a bare one (the
        names to look for). None: the bare tree.
    budget
        Most words to write; the least urgent findings go first, urgent ones always stay. None: no limit.
    knowledge
        Where urgency is looked up; None: chest X-ray.

    >>> print(serialise(fill([Finding("pleural effusion", "present", "left", "", "mild"), Finding("pneumothorax", "absent")])))
    Pleura: mild left pleural effusion; no pneumothorax
    """
    known = load() if knowledge is None else knowledge
    tree = grow(known) if branches is None else tuple(branches)
    filled = any(branch.claims for branch in tree)
    leaves: list[tuple[int, int, str, str]] = []  # urgency, place in the tree, title, words
    for branch in tree:
        words = [(c.name, phrase(c)) for c in branch.claims] if filled else [(name, name) for name in branch.names]
        for name, text in words:
            leaves.append((RANK[known[name].urgency], len(leaves), branch.title, text))
    if budget is not None:
        leaves = _within(leaves, budget)
    lines: dict[str, list[str]] = {}
    for _, _, title, text in sorted(leaves, key=lambda leaf: leaf[1]):
        lines.setdefault(title, []).append(text)
    return "\n".join(f"{title}: {'; '.join(texts)}" for title, texts in lines.items())


def _within(leaves: list[tuple[int, int, str, str]], budget: int) -> list[tuple[int, int, str, str]]:
    kept, spent = [], 0
    titles: set[str] = set()
    for leaf in sorted(leaves):
        cost = len(leaf[3].split()) + (0 if leaf[2] in titles else len(leaf[2].split()))
        if leaf[0] and spent + cost > budget:
            continue
        kept.append(leaf)
        titles.add(leaf[2])
        spent += cost
    return kept


def phrase(finding: Finding) -> str:
    """Return one finding in a few words.

    >>> phrase(Finding("nodule", "uncertain", "right", "upper zone", "", "new"))
    'possible new right nodule, upper zone'
    """
    if finding.change == "resolved":
        words = ["resolved", finding.side, finding.name]
    elif finding.presence == "absent":
        words = ["no", finding.side, finding.name]
    else:
        hedge = "possible" if finding.presence == "uncertain" else ""
        words = [hedge, finding.change, finding.severity, finding.side, finding.name]
    text = " ".join(word for word in words if word)
    placed = finding.presence != "absent" or finding.change == "resolved"
    return f"{text}, {finding.location}" if finding.location and placed else text
