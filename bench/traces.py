"""Traces by rules from the real reports of Open-i: the share that passes the check, by how the tree is walked.

    python bench/traces.py DATA

DATA holds `reports.tar.gz` (the collection's XML). The tree is pruned by these reports; nothing is trained. The rules are the
floor that a language model as writer has to beat: what they perceive is what the extractor reads, so a trace that does not
pass shows where writing and reading back disagree, not where the extractor is wrong (`bench/extractor.py` says that).
"""

from __future__ import annotations

import argparse
import platform
import tarfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from wetread.knowledge import Tree, extract, prune
from wetread.knowledge.pruning import shuffled
from wetread.prompts import Guide
from wetread.prompts.reasoned import understand
from wetread.records import Finding, Report
from wetread.traces import check, rules

LEAST = 10
"""Reports that must claim a finding for it to stay in the tree."""


def read(data: Path) -> dict[str, Report]:
    """Return name to report, those without findings and impression left out."""
    reports = {}
    with tarfile.open(data / "reports.tar.gz") as tar:
        for member in tar:
            handle = tar.extractfile(member) if member.name.endswith(".xml") else None
            if handle is None:
                continue
            parts = {part.get("Label", ""): (part.text or "").strip() for part in ET.parse(handle).iter("AbstractText")}
            report = Report(parts.get("FINDINGS", ""), parts.get("IMPRESSION", ""))
            if report:
                reports[member.name] = report
    return reports


def guides(tree: Tree) -> Mapping[str, Guide]:
    """Return the ways that are compared."""
    return {
        "tree, knowledge": Guide(tree),
        "tree, every finding denied or claimed": Guide(tree, False, "every"),
        "tree, claims alone": Guide(tree, True, "none"),
        "tree shuffled": Guide(shuffled(tree, 0), False),
        "no tree, no knowledge": Guide(None, False),
    }


def row(
    name: str, guide: Guide, found: Mapping[str, tuple[Finding, ...]], reports: Mapping[str, Report]
) -> tuple[str, list[str]]:
    """Return the line of a guide, and what did not pass."""
    kinds: Counter[str] = Counter()
    lost, words, outside = [], [], 0
    for study, findings in found.items():
        thought = understand(rules.write(study, tuple(map(check.timeless, findings)), guide), guide)
        faults = check.faults(thought, check.Source(findings, False, reports[study].text), guide)
        words.append(len(thought.text.split()))
        outside += bool(thought.outside)
        kinds.update(fault.partition(":")[0] for fault in faults)
        if faults:
            lost.append(f"{study}: {'; '.join(faults)}")
    share = 1 - len(lost) / len(found)
    told = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "none"
    return (
        f"| {name} | {share:.2%} | {len(lost)} ({told}) | {sum(words) / len(words):.0f} | {max(words)} | {outside} |",
        lost,
    )


def main() -> None:
    """Print the table and what did not pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--lost", action="store_true", help="also print what did not pass")
    given = parser.parse_args()
    reports = read(given.data)
    found = {name: tuple(extract(report)) for name, report in reports.items()}
    tree = prune(found.values(), LEAST)
    print(
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}; "
        f"{len(found)} reports; the tree keeps {len(tree.names)} findings (claimed by at least {LEAST} reports, or urgent) and "
        f"drops {len(tree.dropped)}\n"
    )
    print(
        "| walk | accepted | rejected | words, mean | most | with findings outside the tree |\n|---|--:|--:|--:|--:|--:|"
    )
    every = []
    for name, guide in guides(tree).items():
        line, lost = row(name, guide, found, reports)
        every += [f"{name}: {one}" for one in lost]
        print(line, flush=True)
    if given.lost:
        print("\n" + "\n".join(every))


if __name__ == "__main__":
    main()
