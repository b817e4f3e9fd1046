"""What the domain knows, as data, and what follows from it: extraction, differences, labels, the perception tree."""

from wetread.knowledge.differences import KINDS, Difference, Kind, contradicted, differences, without
from wetread.knowledge.extract import extract
from wetread.knowledge.labels import LABEL_SETS, label_set
from wetread.knowledge.ontology import CHEXPERT14, NIH14, Code, FindingSpec, Knowledge, Urgency, load
from wetread.knowledge.pruning import Tree, prune
from wetread.knowledge.tree import Branch, fill, grow, serialise

__all__ = [
    "CHEXPERT14", "KINDS", "LABEL_SETS", "NIH14", "Branch", "Code", "Difference", "FindingSpec", "Kind", "Knowledge", "Tree", "Urgency",
    "contradicted", "differences", "extract", "fill", "grow", "label_set", "load", "prune", "serialise", "without",
]  # fmt: skip
