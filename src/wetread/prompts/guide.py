"""What guides a model's perception: the tree that it walks, and the knowledge that decides what it sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wetread.errors import ConfigError
from wetread.knowledge import Knowledge, Tree, load
from wetread.knowledge.walk import NEGATIVES, Negatives


@dataclass(frozen=True)
class Guide:
    """How a model that thinks before it reports was taught to think; stands in its manifest."""

    tree: Tree | None = None
    """The perception tree; None: perception in no set order and of anything."""
    knowledge: bool = True
    """Whether its reasoning names the knowledge that decides a finding."""
    negatives: Negatives = "said"
    """What of that which is not there it writes in a walk."""
    asked: bool = False
    """Whether prompts show the tree and, with ``knowledge``, what it says of the most urgent findings."""
    words: int = 150
    """Most words of tree and knowledge in a prompt; the names of urgent findings always stay."""

    def __post_init__(self) -> None:
        if self.negatives not in NEGATIVES:
            raise ConfigError(f"guide.negatives={self.negatives!r} is not allowed. Allowed: {', '.join(NEGATIVES)}.")

    def question(self, knowledge: Knowledge | None = None) -> str:
        """Return what a prompt shows of the guide; empty where it shows nothing."""
        if not self.asked or self.tree is None:
            return ""
        from wetread.knowledge.tree import serialise

        known = load() if knowledge is None else knowledge
        shown = serialise(self.tree.branches, budget=self.words, knowledge=known)
        lines = ["Look for, in this order:", shown]
        told, left = [], self.words - len(shown.split())
        for name in self.tree.names if self.knowledge else ():
            line = f"{name}: {known[name].knowledge}"
            if known[name].urgency == "urgent" and len(line.split()) <= left:
                told.append(line)
                left -= len(line.split())
        if told:
            lines += ["Keep in mind:", *told]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "tree": self.tree.to_json() if self.tree else None,
            "knowledge": self.knowledge,
            "negatives": self.negatives,
            "asked": self.asked,
            "words": self.words,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Guide:
        """Return the guide that ``to_json`` wrote; ``KnowledgeError`` or ``ConfigError`` where it cannot be."""
        tree = data.get("tree")
        return cls(
            Tree.from_json(tree) if tree else None,
            bool(data.get("knowledge", True)),
            data.get("negatives", "said"),
            bool(data.get("asked", False)),
            int(data.get("words", 150)),
        )
