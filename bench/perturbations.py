"""The perturbation suite: edits that change the meaning of a report must lower every clinical metric, others must not move it.

    python bench/perturbations.py DATA                                  # the tables
    python bench/perturbations.py DATA --half tuning --show "side swapped"   # the edits that a metric got wrong

DATA is the Open-i folder of `bench/extractor.py`. Each report is the reference, its edited text the draft. A cell is the
share of edits after which the metric moved as it should: worse than the reference against itself where the meaning
changed, not at all where it did not. An edit that cannot be made in a report (no sided finding …) is left out; `n` says
how many were made. The last row takes each changed meaning together with each rewording of the same report: the share of pairs
in which the changed meaning scores worse. Every edit lowers a metric that counts words, so this row is where they fail.

No metric is meant to see everything. `SEES` declares what each is meant to see, from its definition; cells outside of it are in
parentheses. Where a metric is meant to see an edit only of some findings, its cell holds those edits alone.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import edit_attributes
import edits
import extractor
import rewordings
from edit_text import cut, tidy
from edits import Edit
from extractor import HALVES

from wetread import metrics
from wetread.knowledge import extract, load
from wetread.records import Report
from wetread.studies import phantom
from wetread.studies.splits import split_of

CHANGING: dict[str, edits.Maker] = {
    "negation flipped": edits.flip_negation,
    "side swapped": edit_attributes.swap_side,
    "severity changed": edit_attributes.change_severity,
    "finding dropped": edits.drop_finding,
    "finding added": edits.add_finding,
    "change reversed": edit_attributes.reverse_change,
    "truncated": edits.truncate,
}
"""Edits that change the meaning, in the order of the table."""
PRESERVING: dict[str, edits.Maker] = {
    "sentences reordered": rewordings.reorder,
    "synonyms": rewordings.paraphrase,
    "case and spacing": rewordings.respace,
    "sentence twice": rewordings.duplicate,
}
"""Edits that do not."""
LEXICAL = ("bleu_2_rexrank", "rouge_l")
"""Beside the clinical metrics; they know no meaning, so nothing is declared of them."""
RANKED = "changed below reworded"
"""Last row: share of the pairs of a changed meaning and a rewording of the same report in which the first scores worse."""
CLOSE = 1e-9
"""Scores that differ by less are the same."""


@dataclass(frozen=True)
class Case:
    """One edited report with its original."""

    reference: Report
    """The original."""
    edit: Edit
    """What was done to it."""


def _always(case: Case) -> bool:
    return True


def _presence(case: Case) -> bool:
    return case.edit.presence


def _sided(case: Case) -> bool:
    return case.edit.presence or (case.edit.kind == "side swapped" and case.edit.sure)


def _significant(case: Case) -> bool:
    """Whether a finding is urgent or actionable; not where the report may explain it by a lesser one ("opacity, likely a scar")."""
    return case.edit.sure and any(load()[name].significant for name in case.edit.findings)


def _labelled(case: Case) -> bool:
    """Whether the edit changes which classes are positive: a finding came or went whose class no other finding holds."""
    known = load()
    others = {f.name for f in extract(case.reference) if f.presence != "absent"} - case.edit.findings
    held = {known[name].chexpert for name in others}
    return case.edit.presence and any(known[name].chexpert not in {"", *held} for name in case.edit.findings)


_NAMES = ("negation flipped", "finding dropped", "finding added", "change reversed", "truncated")
_PLACED = (*_NAMES, "side swapped")
SEES: dict[str, tuple[tuple[str, ...], Callable[[Case], bool], str]] = {
    "findings_f1": (_NAMES, _presence, "names of present findings; of changes only to and from resolved"),
    "findings_f1_sided": (_PLACED, _sided, "names and sides of present findings, not of hedged ones"),
    "entity_f1": (tuple(CHANGING), _always, "names, hedges, sides, locations, severities, changes"),
    "report_similarity": (tuple(CHANGING), _always, "everything that is claimed"),
    "labels14_f1_micro": (_NAMES, _labelled, "14 classes without attributes, one finding for many; only where a class comes or goes"),
    "labels14_f1_weighted": (_NAMES, _labelled, "as labels14_f1_micro"),
    "label_agreement": (_NAMES, _labelled, "as labels14_f1_micro"),
    "errors_total": (tuple(CHANGING), _always, "six kinds of difference"),
    "errors_significant": (tuple(CHANGING), _significant, "as errors_total, findings that are urgent or actionable"),
}  # fmt: skip
"""Metric to the changing edits that it is meant to see, the condition on the edit, and why. Of preserving edits: all."""


def clinical() -> list[str]:
    """Return the metrics of ``SEES`` that exist."""
    return [name for name in SEES if name in metrics.METRICS]


def in_scope(name: str, case: Case) -> bool:
    """Whether the metric is meant to judge this edit."""
    if case.edit.kind in PRESERVING or name not in SEES:
        return True
    kinds, condition, _ = SEES[name]
    return case.edit.kind in kinds and condition(case)


def make(reports: Iterable[Report], seed: int) -> Iterator[Case]:
    """Yield every edit of every report that can be made, each by its own random numbers."""
    for number, report in enumerate(reports):
        reference = tidy(report)
        sentences = cut(reference)
        if not sentences:
            continue
        for kind, maker in (CHANGING | PRESERVING).items():
            edit = maker(sentences, Random(f"{seed}:{number}:{kind}"))
            if edit is not None and edit.draft != reference:
                yield Case(reference, edit)


def drops(cases: Sequence[Case], names: Sequence[str]) -> dict[str, list[float]]:
    """Return for each metric how much worse each edited report scores than the reference against itself."""
    drafts, references = [case.edit.draft for case in cases], [case.reference for case in cases]
    scores = metrics.score(names, drafts, references)
    perfect = metrics.score(names, references, references)
    found = {}
    for name in names:
        sign = 1 if metrics.get(name).spec.better == "higher" else -1
        pairs = zip(perfect[name], scores[name], strict=True)
        found[name] = [sign * (best.value - got.value) for best, got in pairs if None not in (best.value, got.value)]  # type: ignore[operator]
    return found


def as_it_should(case: Case, drop: float) -> bool:
    """Whether a metric that fell by ``drop`` moved as it should."""
    return abs(drop) < CLOSE if case.edit.kind in PRESERVING else drop > CLOSE


@dataclass(frozen=True)
class Cell:
    """One cell of the table."""

    right: int
    """Edits that moved the metric as they should."""
    n: int
    """Edits judged."""
    inside: bool
    """Whether the metric is meant to see this kind."""

    @property
    def share(self) -> float:
        """Share of the edits judged that moved the metric as they should; 1 when there are none."""
        return self.right / self.n if self.n else 1.0

    def text(self) -> str:
        """Return the share in percent, cut and not rounded up, in parentheses outside of what the metric is meant to see."""
        if not self.n:
            return "-"
        words = f"{int(1000 * self.share) / 10:.1f}"
        return words if self.inside else f"({words})"


def tabulate(cases: Sequence[Case], names: Sequence[str]) -> dict[str, dict[str, Cell]]:
    """Return kind of edit to metric to cell, and in a last row how changed meanings fare against rewordings."""
    fell = drops(cases, names)
    places: dict[str, list[int]] = defaultdict(list)
    for place, case in enumerate(cases):
        places[case.edit.kind].append(place)
    cells: dict[str, dict[str, Cell]] = {kind: {} for kind in (*CHANGING, *PRESERVING)}
    for kind, row in cells.items():
        for name in names:
            scope = [place for place in places[kind] if in_scope(name, cases[place])]
            kept = scope or places[kind]
            row[name] = Cell(sum(as_it_should(cases[at], fell[name][at]) for at in kept), len(kept), bool(scope))
    cells[RANKED] = {name: _ranked(cases, name, fell[name]) for name in names}
    return cells


def _ranked(cases: Sequence[Case], name: str, fell: Sequence[float]) -> Cell:
    """Count the pairs of a changed meaning and a rewording of one report in which the changed meaning scores worse."""
    changed: dict[Report, list[float]] = defaultdict(list)
    kept: dict[Report, list[float]] = defaultdict(list)
    for case, drop in zip(cases, fell, strict=True):
        if case.edit.kind in PRESERVING:
            kept[case.reference].append(drop)
        elif in_scope(name, case):
            changed[case.reference].append(drop)
    pairs = [one > other + CLOSE for report, ones in changed.items() for one in ones for other in kept[report]]
    return Cell(sum(pairs), len(pairs), bool(pairs))


def lines(cells: dict[str, dict[str, Cell]], names: Sequence[str], counts: dict[str, int]) -> list[str]:
    """Return the lines of the table."""
    text = ["| edit | n | " + " | ".join(names) + " |", "|---|--:|" + "--:|" * len(names)]
    for kind in cells:
        row = [cells[kind][name].text() for name in names]
        text.append(f"| {kind} | {counts.get(kind, '')} | " + " | ".join(row) + " |")
    return text


def scopes(cells: dict[str, dict[str, Cell]], names: Sequence[str], counts: dict[str, int]) -> list[str]:
    """Return a line for each metric that is meant to see some of the edits of a kind only: how many those are."""
    text = []
    for name in names:
        partly = [
            (kind, row[name].n) for kind, row in cells.items() if row[name].inside and row[name].n < counts.get(kind, 0)
        ]
        if partly:
            text.append(f"- {name}: of {', '.join(f'{kind} {n}' for kind, n in partly)}")
    return text


def show(cases: Sequence[Case], names: Sequence[str], kind: str) -> None:
    """Print the edits of one kind that a metric meant to see them got wrong."""
    fell = drops(cases, names)
    for place, case in enumerate(cases):
        wrong = [name for name in names if in_scope(name, case) and not as_it_should(case, fell[name][place])]
        if case.edit.kind == kind and wrong:
            print(f"{', '.join(wrong)}\n  {sorted(case.edit.findings)}")
            for before, after in case.edit.changed:
                print(f"  - {before!r}\n  + {after!r}")
            print(f"  of {case.reference.text!r}")


def real(data: Path, count: int, seed: int, half: str = "all") -> list[Report]:
    """Return reports of Open-i with text, at most ``count`` drawn by ``seed``, of one half or of both."""
    reports, _ = extractor.read(data)
    names = [
        name
        for name in sorted(reports)
        if reports[name] and half in ("all", split_of(name, "wetread-extractor", HALVES))
    ]
    return [reports[name] for name in Random(seed).sample(names, min(count, len(names)))]


def made_up(count: int, seed: int) -> list[Report]:
    """Return the reports of phantom studies."""
    return [study.report for study in phantom.generate(count, seed=seed) if study.report is not None]


def main() -> None:
    """Print the tables, or what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--reports", type=int, default=2500, help="most reports of each corpus (default 2500)")
    parser.add_argument("--half", choices=("all", *HALVES), default="all", help="which Open-i reports")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", metavar="KIND", help="print the edits of this kind that went wrong")
    parser.add_argument("--corpus", choices=("Open-i", "phantom"), help="one corpus only")
    given = parser.parse_args()
    names = clinical()
    corpora = {
        "Open-i": lambda: real(given.data, given.reports, given.seed, given.half),
        "phantom": lambda: made_up(given.reports, given.seed),
    }
    if not given.show:
        print(
            f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}; "
            f"seed {given.seed}; percent of edits that moved the metric as they should; not there: "
            f"{', '.join(name for name in SEES if name not in names) or 'none'}\n"
        )
    for corpus, reports in corpora.items():
        if given.corpus not in (None, corpus):
            continue
        texts = reports()
        cases = list(make(texts, given.seed))
        if given.show:
            show(cases, names, given.show)
            continue
        columns = [*names, *LEXICAL]
        counts = {kind: sum(case.edit.kind == kind for case in cases) for kind in (*CHANGING, *PRESERVING)}
        print(f"### {corpus}, {len(texts)} reports\n")
        cells = tabulate(cases, columns)
        print("\n".join(lines(cells, columns, counts)), end="\n\nEdits judged where not all are:\n\n")
        print("\n".join(scopes(cells, names, counts)), end="\n\n")
    if not given.show:
        print("What each is meant to see, and why:\n")
        print("\n".join(f"- {name}: {', '.join(SEES[name][0])}; {SEES[name][2]}" for name in names))


if __name__ == "__main__":
    main()
