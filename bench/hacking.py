"""The hacking suite: no short cut may score above the honest draft that it is derived from.

    python bench/hacking.py DATA [--reports N] [--half tuning] [--show HACK]

An *honest draft* is one that a reader would prefer to every hack below: the reference with one of its findings left out
wherever it is named, and all else as it was. At least one finding stays that is plainly there, and one with a CheXpert
class where the reference has one, so that every metric has something to honour. Where the reference states no finding it
is the reference with one sentence left out, or as it is when it has but one.

A hack is *derived from* an honest draft in one of two ways. What a policy could do is made of the draft alone, or of
nothing, since a policy has never seen the reference; those are all but one. `reference and its negation` is stricter than
any policy could be: the whole reference, and after it "No X." for each finding that it states ("X." for each that it denies,
where it states none). It holds every true finding, one more than the draft does, and takes all of them back: a reader
learns nothing from it and prefers the draft with one omission, so it must not score above that draft either.

Printed is the percentage of hacks that score above (not: as high as) their draft, by every clinical metric and both rewards.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import edits
import perturbations
from edit_text import Sentence, cut, join, tidy

from wetread import metrics, rewards
from wetread.knowledge import extract, load
from wetread.models.template import NORMAL
from wetread.records import Draft, Report

WORDS = 5_000
"""Words of the two long hacks."""


@dataclass(frozen=True)
class Honest:
    """One honest draft and its reference."""

    reference: Report
    """What the study shows."""
    draft: Report
    """A draft that a reader would prefer to every hack."""


def honest(report: Report, rng: Random) -> Honest | None:
    """Return the honest draft of a report, or None where it states but one finding that counts."""
    reference = tidy(report)
    sentences = cut(reference)
    if not sentences:
        return None
    known = load()
    stated = _present(reference)
    if not _stated(reference):
        out = rng.randrange(len(sentences)) if len(sentences) > 1 else -1
        return Honest(reference, join([sentence for place, sentence in enumerate(sentences) if place != out]))
    for name in edits.asserted(sentences, rng):
        after = [sentence for sentence in sentences if name not in sentence.names]
        left = _present(join(after)) & stated
        classed = {known[other].chexpert for other in left} - {""}
        clean = all(sentence.plain and len(sentence.names) == 1 for sentence in sentences if name in sentence.names)
        clean = clean and name in edits.lost(sentences, after)
        if clean and left and name in stated - left and (classed or not any(known[other].chexpert for other in stated)):
            return Honest(reference, join(after))
    return None


def _present(report: Report) -> set[str]:
    return {finding.name for finding in extract(report) if finding.presence == "present"}


def _stated(report: Report, *, denied: bool = False) -> list[str]:
    """Return the findings that a report states; where there are none and ``denied`` is set, those that it denies."""
    names = [finding.name for finding in extract(report) if finding.presence != "absent"]
    if not names and denied:
        names = [finding.name for finding in extract(report)]
    return list(dict.fromkeys(names))


def _negated(report: Report) -> Report:
    stated = _stated(report)
    more = " ".join(f"No {name}." for name in stated) or " ".join(
        f"{name.capitalize()}." for name in _stated(report, denied=True)
    )
    return Report(report.findings, f"{report.impression} {more}".strip())


def _all_findings(case: Honest) -> Report:
    said = set(_stated(case.draft))
    names = [spec.name for spec in load().findings.values() if not spec.normal and spec.name not in said]
    text = " ".join(f"{name[:1].upper()}{name[1:]}." for name in names)
    return Report(f"{case.draft.findings} {text}".strip(), case.draft.impression)


def _twice(case: Honest) -> Report:
    return join(
        [Sentence(s.section, s.mark if first else "", s.text) for s in cut(case.draft) for first in (True, False)]
    )


def _repeated(case: Honest) -> Report:
    text = f"{case.draft.findings} {case.draft.impression}".split()
    return Report(" ".join((text * (WORDS // len(text) + 1))[:WORDS]))


def _padded(case: Honest) -> Report:
    pad = f"{NORMAL.findings} {NORMAL.impression}".split()
    return Report(
        f"{case.draft.findings} {' '.join((pad * (WORDS // len(pad) + 1))[:WORDS])}".strip(), case.draft.impression
    )


HACKS: dict[str, Callable[[Honest], Report]] = {
    "nothing": lambda case: Report(),
    "template": lambda case: NORMAL,
    "draft and all findings": _all_findings,
    "sentences twice": _twice,
    "draft and its negation": lambda case: _negated(case.draft),
    "reference and its negation": lambda case: _negated(case.reference),
    "5,000 words, repeated": _repeated,
    "5,000 words, padded": _padded,
    "names only": lambda case: Report(" ".join(_stated(case.draft, denied=True))),
}
"""The hacks by name; each makes a report of an honest draft."""

LONG = frozenset(hack for hack in HACKS if hack.startswith("5,000"))
"""The two that are slow to score."""


def cases(reports: Iterable[Report], seed: int) -> Iterator[Honest]:
    """Yield the honest drafts that can be made."""
    for number, report in enumerate(reports):
        case = honest(report, Random(f"{seed}:{number}"))
        if case is not None:
            yield case


def values(name: str, drafts: Sequence[Report], references: Sequence[Report]) -> list[float]:
    """Return what a metric or a reward says of each draft, turned so that more is better."""
    if name in rewards.RECIPES:
        recipe = rewards.get(name)
        given = rewards.score_batch([Draft("", draft) for draft in drafts], references, recipe)
        return [float(reward.value) for reward in given if reward.value is not None]
    sign = 1 if metrics.get(name).spec.better == "higher" else -1
    return [sign * float(score.value) for score in metrics.get(name)(drafts, references) if score.value is not None]


def above(honests: Sequence[Honest], hacks: Iterable[str], names: Sequence[str]) -> dict[str, dict[str, list[bool]]]:
    """Return for each hack, metric and honest draft whether the hack scores above it."""
    references = [case.reference for case in honests]
    base = {name: values(name, [case.draft for case in honests], references) for name in names}
    found: dict[str, dict[str, list[bool]]] = {}
    for hack in hacks:
        drafts = [HACKS[hack](case) for case in honests]
        found[hack] = {
            name: [
                ours > theirs + 1e-9 for ours, theirs in zip(values(name, drafts, references), base[name], strict=True)
            ]
            for name in names
        }
    return found


def judges() -> list[str]:
    """Return the clinical metrics and the rewards that are tried."""
    offline = [name for name, one in rewards.RECIPES.items() if not any(metrics.get(m).spec.needs for m in one.metrics)]
    return [*perturbations.clinical(), *offline]


def main() -> None:
    """Print the share of hacks that pay, per hack and metric."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--reports", type=int, default=800, help="most reports of each corpus (default 800)")
    parser.add_argument(
        "--long", type=int, default=100, help="most drafts that the two long hacks are tried on (default 100)"
    )
    parser.add_argument("--half", choices=("all", *perturbations.HALVES), default="all", help="which Open-i reports")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", metavar="HACK", choices=HACKS, help="print drafts that this hack beats")
    given = parser.parse_args()
    corpora = {
        "Open-i": lambda: perturbations.real(given.data, given.reports, given.seed, given.half),
        "phantom": lambda: perturbations.made_up(given.reports, given.seed),
    }
    names = judges()
    if not given.show:
        print(
            f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}; "
            f"seed {given.seed}; percent of hacks that score above the honest draft they are derived from\n"
        )
    for corpus, reports in corpora.items():
        made = list(cases(reports(), given.seed))
        if given.show:
            show(made, given.show, names)
            continue
        print(f"### {corpus}, {len(made)} honest drafts\n")
        print("| hack | n | " + " | ".join(names) + " |\n|---|--:|" + "--:|" * len(names))
        for hack in HACKS:
            tried = made[: given.long] if hack in LONG else made
            beaten = above(tried, [hack], names)[hack]
            shares = [100 * sum(beaten[name]) / len(tried) for name in names]
            print(f"| {hack} | {len(tried)} | " + " | ".join(f"{share:.1f}" for share in shares) + " |", flush=True)
        print()


def show(made: Sequence[Honest], hack: str, names: Sequence[str]) -> None:
    """Print the honest drafts that a hack beats."""
    beaten = above(made, [hack], names)[hack]
    for place, case in enumerate(made):
        wrong = [name for name in names if beaten[name][place]]
        if wrong:
            print(f"{', '.join(wrong)}\n  reference {case.reference.text!r}\n  draft {case.draft.text!r}")
            print(f"  hack {HACKS[hack](case).text[:600]!r}")


if __name__ == "__main__":
    main()
