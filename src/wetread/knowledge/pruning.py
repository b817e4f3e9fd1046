"""The perception tree of a data set: what is looked for and in which order, pruned by what its training reports claim.

After the perception tree of Med-R2 (arXiv 2504.02885, v1), of which only the idea is published: it keeps the vocabulary of
perception to what is relevant. Pruned by frequency alone a tree loses exactly what must not be missed, so findings whose
urgency is ``urgent`` stay however rare they are.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wetread.errors import KnowledgeError, MissingError, nearest
from wetread.knowledge.ontology import Knowledge, load
from wetread.knowledge.tree import Branch, grow
from wetread.records import Finding

LEAST = 5
"""Reports that must claim a finding for it to stay, by default."""


@dataclass(frozen=True)
class Tree:
    """A versioned perception tree."""

    modality: str
    """Modality of the knowledge file that it was grown from."""
    version: str
    """Version of that file."""
    branches: tuple[Branch, ...]
    """Regions with the findings to look for, in the order in which they are walked."""
    reports: int = 0
    """Training reports that were counted; 0: it was not pruned."""
    least: int = 0
    """Reports that must claim a finding for it to stay."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Reports that claim it (present or uncertain) of every finding that stayed."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Reports that claim it of every finding that did not; those that none claims are not listed."""
    shuffled: int | None = None
    """Seed by which findings were dealt to regions at random, as a control; None: where they belong."""

    @property
    def names(self) -> tuple[str, ...]:
        """Findings that are looked for, in walking order."""
        return tuple(name for branch in self.branches for name in branch.names)

    @property
    def asked(self) -> frozenset[str]:
        """Findings that a walk of everything denies where they are not: those that the counted reports claim somewhere.

        Where no report claims a finding, such as one that stays because it is urgent, a denial would be the same in all of them:
        a model learns nothing from it but to reassure. A tree that was not pruned asks for all.
        """
        return frozenset(name for name in self.names if not self.reports or self.counts.get(name))

    def __contains__(self, name: object) -> bool:
        return any(name in branch.names for branch in self.branches)

    @property
    def digest(self) -> str:
        """16 hex digits that stand for what is looked for and in which order; traces carry it."""
        said = [self.modality, self.version, [[branch.region, *branch.names] for branch in self.branches]]
        return hashlib.blake2b(json.dumps(said).encode(), digest_size=8).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "modality": self.modality,
            "version": self.version,
            "digest": self.digest,
            "branches": [{"region": b.region, "title": b.title, "names": list(b.names)} for b in self.branches],
            "reports": self.reports,
            "least": self.least,
            "counts": dict(self.counts),
            "dropped": dict(self.dropped),
            "shuffled": self.shuffled,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Tree:
        """Return the tree that ``to_json`` wrote.

        Raises
        ------
        KnowledgeError
            It is no tree, or it was changed by hand and its digest was not.
        """
        try:
            tree = cls(
                modality=data["modality"],
                version=data["version"],
                branches=tuple(Branch(b["region"], b["title"], tuple(b["names"])) for b in data["branches"]),
                reports=data.get("reports", 0),
                least=data.get("least", 0),
                counts=dict(data.get("counts", {})),
                dropped=dict(data.get("dropped", {})),
                shuffled=data.get("shuffled"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise KnowledgeError(f"this is no perception tree ({type(error).__name__}: {error}).") from None
        known = load()
        foreign = [name for name in tree.names if tree.modality == known.modality and name not in known]
        if foreign:
            raise KnowledgeError(
                f"the perception tree has {foreign[0]!r}, which the knowledge file does not.{nearest(foreign[0], known.findings)} "
                "Correct it, or open it with the extension that it was grown from."
            )
        if data.get("digest", tree.digest) != tree.digest:
            raise KnowledgeError(
                f"the perception tree's digest is {data['digest']}, but its branches give {tree.digest}; make the tree "
                "anew with `wetread traces`, or remove the digest if the change was meant."
            )
        return tree

    def save(self, path: Path) -> None:
        """Write the tree into a JSON file."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(self.to_json(), indent=1) + "\n", "utf-8")
        part.replace(path)

    @classmethod
    def open(cls, path: Path) -> Tree:
        """Return the tree in a JSON file.

        Raises
        ------
        MissingError
            There is no such file.
        KnowledgeError
            What is in it is no tree.
        """
        try:
            data = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise MissingError(
                f"no perception tree at {path} ({error.strerror}); `wetread traces` writes one."
            ) from None
        except ValueError as error:
            raise KnowledgeError(f"{path} is no JSON ({error}); a perception tree is.") from None
        try:
            return cls.from_json(data)
        except KnowledgeError as error:
            raise KnowledgeError(f"{path}: {error}") from None


def whole(knowledge: Knowledge | None = None) -> Tree:
    """Return the tree that has all findings of the knowledge file."""
    known = load() if knowledge is None else knowledge
    return Tree(known.modality, known.version, grow(known))


def prune(reports: Iterable[Sequence[Finding]], least: int = LEAST, knowledge: Knowledge | None = None) -> Tree:
    """Return the tree of a data set.

    Parameters
    ----------
    reports
        The findings of each report of the training split, and of no other.
    least
        Reports that must claim a finding, present or uncertain, for it to stay; urgent findings always do.
    knowledge
        Where findings come from; None: chest X-ray.

    >>> tree = prune([[Finding("cardiomegaly")], [Finding("cardiomegaly"), Finding("scoliosis")]], least=2)
    >>> "cardiomegaly" in tree, "scoliosis" in tree, "pneumothorax" in tree, dict(tree.dropped)
    (True, False, True, {'scoliosis': 1})
    """
    known = load() if knowledge is None else knowledge
    counts: Counter[str] = Counter()
    count = 0
    for findings in reports:
        count += 1
        counts.update({f.name for f in findings if f.presence != "absent" and f.name in known})
    kept = {name for name, found in counts.items() if found >= least}
    branches = grow(known, kept)
    stays = {name for branch in branches for name in branch.names}
    return Tree(
        known.modality,
        known.version,
        branches,
        count,
        least,
        {name: counts[name] for branch in branches for name in branch.names},
        {name: counts[name] for name in known.findings if counts[name] and name not in stays},
    )


def shuffled(tree: Tree, seed: int) -> Tree:
    """Return a control: the same findings and as many a region, dealt to the regions at random.

    A checklist of the same length, without the order that makes it a tree.
    """
    names = list(tree.names)
    random.Random(f"tree {seed}").shuffle(names)
    branches = []
    for branch in tree.branches:
        branches.append(replace(branch, names=tuple(names[: len(branch.names)])))
        names = names[len(branch.names) :]
    return replace(tree, branches=tuple(branches), shuffled=seed)
