"""The walk of the perception tree as text: one line a region, in the tree's order, written and read back.

    Pleura: pleural effusion yes mild left; pneumothorax no
    Heart and mediastinum: clear
    Other: humerus fracture yes new right

Each item goes down the tree's levels: the finding, whether it is there, and only then how it has changed, its grade, its side
and its place. So a model that writes it decides one thing at a time; with grade and side in front it would have to weigh
"absent" against each way of being present. ``Other`` holds what the tree has no place for. Written walks read back to the same
findings; the words of ``phrase`` are read too, and what a language model writes otherwise by the extractor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from wetread.knowledge.extract import extract
from wetread.knowledge.ontology import Knowledge, load
from wetread.knowledge.pruning import Tree, whole
from wetread.records import CHANGES, SEVERITIES, SIDES, Change, Finding, Severity, Side

Negatives = Literal["none", "said", "every"]
"""What of that which is not there is written: nothing, what the report denies, or everything the tree looks for."""
NEGATIVES: tuple[Negatives, ...] = get_args(Negatives)
CLEAR = "clear"
"""Said of a region in which nothing is written."""
OTHER = "Other"
"""Title of the line that holds what the tree has no place for."""
SEEN = "Seen"
"""Title of the only line where there is no tree."""
_LINE = re.compile(r"^[ \t*#>-]*(?P<title>[A-Za-z][^:\n]{0,60}?)[ \t*]*:[ \t*]*(?P<said>[^\n]*)$", re.MULTILINE)
_ITEMS = re.compile(r"[^;]+")
_ORDER = {"present": 0, "uncertain": 1, "absent": 2}
_ANSWERS = {"present": "yes", "uncertain": "possible", "absent": "no"}
_ITEM = re.compile(r"(?P<name>\S.*?) (?P<answer>yes|possible|no|resolved)\b(?P<how>.*)")


@dataclass(frozen=True)
class Walk:
    """What a walk says."""

    findings: tuple[Finding, ...] = ()
    """What was perceived and denied, with its place in the text as ``span``."""
    regions: tuple[str, ...] = ()
    """Regions that were walked, in the order of the text."""
    outside: tuple[str, ...] = ()
    """Findings that are said and for which the tree has no place."""
    loose: tuple[str, ...] = ()
    """What could not be read as a finding, as it stands."""


def write(
    findings: Iterable[Finding],
    tree: Tree | None,
    *,
    negatives: Negatives = "said",
    knowledge: Knowledge | None = None,
) -> str:
    """Return the walk of one study.

    Parameters
    ----------
    findings
        What is said of the study, denials among it.
    tree
        What is looked for, and in which order; None: one line, in the order of the report that the findings come from.
    negatives
        What of that which is not there is written; ``every`` needs a tree, and denies what it asks for (``Tree.asked``).

    >>> from wetread.knowledge.pruning import Tree, whole
    >>> from wetread.knowledge.tree import Branch
    >>> tree = Tree("chest_xray", "2", (Branch("pleura", "Pleura", ("pleural effusion", "pneumothorax")),))
    >>> print(write([Finding("pneumothorax", "present", "left"), Finding("scoliosis")], tree, negatives="every"))
    Pleura: pleural effusion no; pneumothorax yes left
    Other: scoliosis yes
    """
    known = load() if knowledge is None else knowledge
    by_name: dict[str, list[Finding]] = {}
    if tree is None:
        kept = sorted(
            (one for one in findings if negatives != "none" or not _plain(one)), key=lambda f: f.span or (0, 0)
        )
        return f"{SEEN}: {'; '.join(dict.fromkeys(map(item, kept))) or CLEAR}"
    for one in findings:
        if negatives != "none" or one.presence != "absent" or one.change == "resolved":
            by_name.setdefault(one.name, []).append(one)
    lines = []
    denied = tree.asked if negatives == "every" else frozenset()
    for branch in tree.branches:
        said = [words for name in branch.names for words in _words(by_name.pop(name, []), name, deny=name in denied)]
        lines.append(f"{branch.title}: {'; '.join(said) or CLEAR}")
    rest = [
        words
        for name in sorted(by_name, key=lambda name: list(known.findings).index(name) if name in known else -1)
        for words in _words([one for one in by_name[name] if not _plain(one)], name)
    ]
    return "\n".join([*lines, f"{OTHER}: {'; '.join(rest)}"] if rest else lines)


def ordered(findings: Iterable[Finding], tree: Tree | None) -> list[Finding]:
    """Return findings in the order in which a walk names them; those outside the tree last."""
    if tree is None:
        return sorted(findings, key=lambda f: f.span or (0, 0))
    place = {name: at for at, name in enumerate(tree.names)}
    return sorted(findings, key=lambda f: (place.get(f.name, len(place)), _ORDER[f.presence], f.side, f.location))


def _words(said: Sequence[Finding], name: str, *, deny: bool = False) -> Iterator[str]:
    if not said and deny:
        yield item(Finding(name, "absent"))
    for one in sorted(said, key=lambda f: (_ORDER[f.presence], f.side, f.location)):
        yield item(one)


def item(finding: Finding) -> str:
    """Return one finding level by level: its name, whether it is there, and how.

    >>> item(Finding("nodule", "uncertain", "right", "upper zone", "", "new")), item(Finding("mass", "absent"))
    ('nodule possible new right, upper zone', 'mass no')
    """
    gone = finding.change == "resolved"
    word = "resolved" if gone else _ANSWERS[finding.presence]
    claimed = finding.presence != "absent" or gone
    how = (finding.change, finding.severity) if claimed and not gone else ()
    words = [finding.name, word, *how, finding.side]
    text = " ".join(filter(None, words))
    return f"{text}, {finding.location}" if finding.location and claimed else text


def _plain(one: Finding) -> bool:
    """Whether it only says that something is not there."""
    return one.presence == "absent" and one.change != "resolved"


def read(text: str, tree: Tree | None, knowledge: Knowledge | None = None) -> Walk:
    """Return what the walk in ``text`` says; never raises.

    Lines whose title is no region of the tree are not part of the walk. Without a tree any title of the knowledge file's
    regions is one, and nothing is outside.
    """
    known = load() if knowledge is None else knowledge
    branches = whole(known).branches if tree is None else tree.branches
    regions = {branch.title.lower(): branch.region for branch in branches}
    regions |= {branch.region.lower(): branch.region for branch in branches}
    findings: list[Finding] = []
    walked: list[str] = []
    loose: list[str] = []
    for line in _LINE.finditer(text):
        title = " ".join(line["title"].lower().split())
        if title in regions:
            walked.append(regions[title])
        elif title not in (OTHER.lower(), SEEN.lower()):
            continue
        for part in _ITEMS.finditer(line["said"]):
            start = line.start("said") + part.start()
            found = list(_read(part[0], start, known))
            findings += found
            words = part[0].strip(" .*\t")
            if not found and words and words.lower() not in (CLEAR, "none", "normal"):
                loose.append(words)
    outside = dict.fromkeys(one.name for one in findings if tree and one.name not in tree and not _plain(one))
    return Walk(tuple(findings), tuple(dict.fromkeys(walked)), tuple(outside), tuple(loose))


def _read(said: str, start: int, known: Knowledge) -> Iterator[Finding]:
    """Yield the findings of one item: by the grammar of ``item`` or ``phrase``, else by the extractor."""
    words = said.strip(" .*\t")
    begin = start + said.index(words) if words else start
    one = parse(words, known)
    if one is not None:
        yield replace(one, span=(begin, begin + len(words)))
        return
    for found in extract(said, known):
        yield replace(found, span=(start + found.span[0], start + found.span[1]) if found.span else None, denied=None)


def parse(words: str, knowledge: Knowledge | None = None) -> Finding | None:
    """Return the finding that ``item`` or ``phrase`` wrote, None where the words are of neither.

    >>> one = parse("nodule possible new right, upper zone")
    >>> (one.name, one.presence, one.side, one.location, one.change)
    ('nodule', 'uncertain', 'right', 'upper zone', 'new')
    >>> parse("possible new right nodule, upper zone") == one
    True
    """
    known = load() if knowledge is None else knowledge
    said, _, location = (part.strip() for part in words.lower().partition(","))
    levels = _ITEM.fullmatch(said)
    if levels is not None and levels["name"] in known:
        answer = "" if levels["answer"] == "yes" else levels["answer"]
        said = " ".join((answer, levels["how"], levels["name"]))
    tokens = said.split()
    first = tokens.pop(0) if tokens and tokens[0] in ("no", "possible", "resolved") else ""
    change = side = severity = ""
    if tokens and first in ("", "possible") and tokens[0] in CHANGES:
        change = tokens.pop(0)
    if tokens and first in ("", "possible") and tokens[0] in SEVERITIES:
        severity = tokens.pop(0)
    if len(tokens) > 1 and tokens[0] in SIDES:
        side = tokens.pop(0)
    name = " ".join(tokens)
    if name not in known or (location and (first == "no" or location not in known[name].locations)):
        return None
    change = "resolved" if first == "resolved" else change
    presence = {"no": "absent", "resolved": "absent", "possible": "uncertain"}.get(first, "present")
    return Finding(
        name,
        cast("Literal['present', 'absent', 'uncertain']", presence),
        cast(Side, side),
        location,
        cast(Severity, severity),
        cast(Change, change),
    )
