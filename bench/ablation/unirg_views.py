"""The paper's other views of the best policy: longitudinal, by finding, by sex and age, errors by kind and number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ablation import arms, plots
from ablation.tables import Drafted, cell, difference, differences, digits_of, named, table, title, values
from wetread.records import Score
from wetread.runs import evaluate

if TYPE_CHECKING:
    from ablation.unirg_page import Results

MOST_ERRORS = 5
"""So many errors and more are one bar."""
AGES = ((0, 40), (40, 60), (60, 200))


def longitudinal(seen: Results) -> str:
    """Return what the prior is worth, and how the policy does by encounter and by what has changed."""
    with_prior = frozenset(study.id for study in seen.studies if study.prior)
    name = arms.STEP2
    several = [
        seen.system("copy prior"),
        seen.system(name, "none", f"{name}, no prior"),
        seen.system(name, "report", f"{name}, prior's report"),
        seen.system(name, "image", f"{name}, prior's image"),
        seen.system(name, "", f"{name}, both"),
    ]
    columns = ("findings_f1", "errors_total", "entity_f1", "rouge_l", "report_similarity")
    parts = [
        "## Longitudinal",
        f"The {len(with_prior)} test studies with a prior. The policy was trained with the prior's image and report; here parts are kept from it.",
        values(several, columns, seen.setting, with_prior),
        differences(
            [(f"both − {one.name.removeprefix(name + ', ')}", several[-1], one) for one in several[:-1]],
            columns,
            seen.setting,
            with_prior,
        ),
    ]
    for column, what in (("encounter", "By encounter"), ("temporal", "By what has changed since the prior")):
        groups = evaluate.strata(column, seen.studies)
        rows = []
        for stratum, places in groups.items():
            keep = frozenset(seen.studies[place].id for place in places)
            ours, theirs = several[-1], seen.system(arms.SFT_LONG)
            rows.append(
                [
                    f"{stratum.partition('=')[2]} ({len(keep)})",
                    *(cell(seen.setting.estimate(ours, metric, keep), digits_of(metric)) for metric in columns[:3]),
                    *(
                        difference(seen.setting.paired(ours, theirs, metric, keep), digits_of(metric))
                        for metric in columns[:3]
                    ),
                ]
            )
        heads = [
            *(title(metric) for metric in columns[:3]),
            *(f"{title(metric)}, − {arms.SFT_LONG}" for metric in columns[:3]),
        ]
        parts += [f"{what}, {name}:", table([column, *heads], rows)]
    return "\n\n".join(parts)


def _one_finding(system: Drafted, finding: str) -> Drafted:
    """Return a system's counts of one finding, as scores of the micro F1."""

    def narrowed(score: Score) -> Score:
        if score.value is None:
            return score
        counts = {kind: score.counts.get(f"{kind}:{finding}", 0.0) for kind in ("tp", "fp", "fn")}
        return Score("findings_f1", score.value, counts=counts)

    return Drafted(
        system.name,
        tuple(
            {"findings_f1": {study: narrowed(one) for study, one in run["findings_f1_macro"].items()}}
            for run in system.scores
        ),
    )


def _calls(system: Drafted) -> str:
    """Return under- and over-calling of a system that was narrowed to one finding, all seeds together."""
    totals: Counter[str] = Counter()
    reports = 0
    for run in system.scores:
        for score in run["findings_f1"].values():
            totals.update(score.counts)
            reports += score.value is not None
    there, absent = totals["tp"] + totals["fn"], reports - totals["tp"] - totals["fn"]
    shares = (totals["fn"] / there if there else None, totals["fp"] / absent if absent else None)
    return "; ".join("n/a" if one is None else f"{one:.3f}" for one in shares)


def findings(seen: Results, systems: Sequence[Drafted], to: Path) -> str:
    """Return the F1 of each finding, the most frequent first, with a plot."""
    by_name = named(systems)
    ours, theirs = by_name[arms.STEP2], by_name[arms.SFT_LONG]
    support = Counter(
        key.partition(":")[2]
        for score in theirs.scores[0]["findings_f1_macro"].values()
        for key in score.counts
        if not key.startswith("fp:")
    )
    names = [name for name, _ in support.most_common()]
    rows, drawn = [], {one.name: [] for one in (theirs, ours)}
    for finding in names:
        parts = [_one_finding(one, finding) for one in (theirs, ours)]
        both = [seen.setting.estimate(part, "findings_f1") for part in parts]
        for part, one in zip(parts, both, strict=True):
            drawn[part.name].append(one)
        gain = seen.setting.paired(parts[1], parts[0], "findings_f1")
        rows.append([finding, str(support[finding]), *map(cell, both), difference(gain), *map(_calls, parts)])
    plots.pairs(to / f"{seen.name}_findings.png", "F1", [f"{name} ({support[name]})" for name in names], drawn)
    return "\n\n".join(
        (
            "## By finding",
            "Missed: share of the reports with the finding in which the draft lacks it; invented: share of the others in which it has it.",
            table(
                [
                    "finding",
                    "reports",
                    f"{theirs.name}, F1",
                    f"{ours.name}, F1",
                    "difference",
                    f"{theirs.name}, missed; invented",
                    f"{ours.name}, missed; invented",
                ],
                rows,
            ),
            f"![F1 by finding]({seen.name}_findings.png)",
        )
    )


def subgroups(seen: Results, systems: Sequence[Drafted]) -> str:
    """Return how the policy does by sex and age."""
    by_name = named(systems)
    ours, theirs = by_name[arms.STEP2], by_name[arms.SFT_LONG]
    rows = []
    for sex in sorted({study.sex for study in seen.studies}):
        for low, high in AGES:
            keep = frozenset(s.id for s in seen.studies if s.sex == sex and s.age is not None and low <= s.age < high)
            if not keep:
                continue
            span = f"under {high}" if not low else f"{low} and over" if high > 120 else f"{low} to {high - 1}"
            rows.append(
                [
                    f"{sex}, {span} ({len(keep)})",
                    *(
                        cell(seen.setting.estimate(ours, metric, keep), digits_of(metric))
                        for metric in ("findings_f1", "errors_total")
                    ),
                    *(
                        difference(seen.setting.paired(ours, theirs, metric, keep), digits_of(metric))
                        for metric in ("findings_f1", "errors_total")
                    ),
                ]
            )
    heads = [title("findings_f1"), title("errors_total")]
    return "\n\n".join(
        (
            "## Sex and age",
            f"{ours.name}, and its difference to {theirs.name}. The phantom gives every group the same pictures, so what differs is how often "
            "a group has which finding.",
            table(["group", *heads, *(f"{head}, difference" for head in heads)], rows),
        )
    )


def errors(seen: Results, systems: Sequence[Drafted], to: Path) -> str:
    """Return errors by kind, and the share of reports with none, one, two … of them, with a plot."""
    by_name = named(systems)
    chosen = [by_name[name] for name in (arms.SFT, arms.SFT_LONG, arms.STEP1, arms.STEP2)]
    names = [str(count) for count in range(MOST_ERRORS)] + [f"{MOST_ERRORS}+"]
    shares: dict[str, list[float]] = {}
    for one in chosen:
        counts = Counter(
            min(MOST_ERRORS, int(score.value))
            for run in one.scores
            for score in run["errors_total"].values()
            if score.value is not None
        )
        shares[one.name] = [counts[number] / counts.total() for number in range(MOST_ERRORS + 1)]
    plots.histogram(to / f"{seen.name}_errors.png", "errors in a report", names, shares)
    kinds = sorted(
        {
            kind
            for one in chosen
            for run in one.scores
            for score in run["errors_total"].values()
            for kind in score.counts
        }
    )
    setting = seen.setting

    def counted(system: Drafted, kind: str) -> Drafted:
        runs = tuple(
            {
                "errors_total": {
                    study: Score("errors_total", score.counts.get(kind, 0.0) if score.value is not None else None)
                    for study, score in run["errors_total"].items()
                }
            }
            for run in system.scores
        )
        return Drafted(system.name, runs)

    rows = [
        [one.name, *(cell(setting.estimate(counted(one, kind), "errors_total")) for kind in kinds)] for one in chosen
    ]
    pair = [counted(chosen[-1], kind) for kind in kinds], [counted(chosen[1], kind) for kind in kinds]
    rows.append(
        [
            f"{chosen[-1].name} − {chosen[1].name}",
            *(difference(setting.paired(a, b, "errors_total")) for a, b in zip(*pair, strict=True)),
        ]
    )
    return "\n\n".join(
        (
            "## Errors",
            "Errors a report, by kind:",
            table(["system", *(kind.replace("_", " ") for kind in kinds)], rows),
            "Share of reports by number of errors, all seeds together:",
            table(
                ["system", *names], [[name, *(f"{share:.3f}" for share in several)] for name, several in shares.items()]
            ),
            f"![Errors a report]({seen.name}_errors.png)",
        )
    )
