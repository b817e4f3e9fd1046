"""What the domain knows, as data, and what follows from it: extraction, differences, labels, the perception tree."""

from wetread.knowledge.differences import KINDS, Difference, Kind, differences
from wetread.knowledge.extract import extract
from wetread.knowledge.labels import labels14
from wetread.knowledge.ontology import CHEXPERT14, FindingSpec, Knowledge, Urgency, load
from wetread.knowledge.tree import Branch, fill, grow, serialise

__all__ = [
    "CHEXPERT14", "KINDS", "Branch", "Difference", "FindingSpec", "Kind", "Knowledge", "Urgency",
    "differences", "extract", "fill", "grow", "labels14", "load", "serialise",
]  # fmt: skip
