"""The page of UniRG's ablation: tables and plots out of the scores that its jobs left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ablation import arms, chains, measure, planted, plots
from ablation import unirg_views as views
from ablation.arms import Plan
from ablation.tables import (
    Drafted,
    Setting,
    better,
    difference,
    differences,
    digits_of,
    excludes,
    named,
    table,
    title,
    values,
)
from wetread.records import Study
from wetread.rewards.rules import PANEL
from wetread.runs import evaluate, seeds
from wetread.runs.evaluate import GUARDS
from wetread.runs.store import JsonLines, write_atomic
from wetread.studies import folder

NAME = "unirg_phantom"
HEAD = (
    "findings_f1", "findings_f1_macro", "abnormal_f1", "errors_total", "errors_significant", "length_ratio",
    "template_share", "duplicate_share", "contradiction_share",
)  # fmt: skip
WORDS = ("rouge_l", "bleu_4", "cider_d")
"""Held-out metrics that look at words; the others read findings as the rewards do, and count them by other rules."""
CLAIMED = ("findings_f1", "errors_total", *PANEL)
"""What the two-step model must be better in than SFT of the same compute."""
WHOLE = "held-out panel as a whole"
"""The panel as one number: the mean of its metrics' relative gains, drawn together."""
FEWER = 0.20
"""Share of the errors that are to go."""
GROUPS: Mapping[str, str] = {"seen": "sites that were trained on", "unseen": "site that was not"}


class Results:
    """Everything that was scored on one group of studies.

    Parameters
    ----------
    plan, out
        What was done, and where.
    group
        ``seen`` or ``unseen``.
    studies
        Its studies.
    """

    name = NAME
    """What the names of plots begin with."""

    def __init__(self, plan: Plan, out: Path, group: str, studies: Sequence[Study]) -> None:
        self.plan, self.out, self.group, self.studies = plan, out, group, studies
        self.setting = Setting.of(studies, plan.resamples)

    def folders(self, name: str, prior: str = "") -> list[Path]:
        """Return where a system's scores lie, a training after another."""
        several = [None] if name in (*evaluate.BASELINES, arms.BASE) else self.plan.seeds
        return [measure.place(chains.scored(self.out, name, seed), self.group, prior) for seed in several]

    def system(self, name: str, prior: str = "", shown: str = "") -> Drafted:
        """Return a system by its name in the arms or the baselines."""
        return Drafted(shown or name, tuple(measure.scores(one, name) for one in self.folders(name, prior)))

    def systems(self) -> list[Drafted]:
        """Return the baselines and every arm."""
        return [self.system(name) for name in (*evaluate.BASELINES, *arms.TRAINED)]


def write(plan: Plan, out: Path, data: Path, origin: str, to: Path) -> Path:
    """Write the page and its plots to the folder ``to`` and return the page; ``origin`` says where its numbers come from."""
    every = folder.read(data)
    groups = {group: Results(plan, out, group, measure.group(data, group, plan.test_limit)) for group in measure.GROUPS}
    seen, unseen = groups["seen"], groups["unseen"]
    found = {group: one.systems() for group, one in groups.items()}
    parts = [
        _intro(plan, every, groups, origin),
        _claim(groups, found),
        _main(plan, seen, found["seen"], to),
        _single(seen, found["seen"]),
        _unseen(unseen, found["unseen"]),
        views.longitudinal(seen),
        views.findings(seen, found["seen"], to),
        views.subgroups(seen, found["seen"]),
        views.errors(seen, found["seen"], to),
        _learning(plan, out, to),
        _hacks(out),
        _compute(plan, out),
        _every(groups, found),
    ]
    page = to / f"{NAME}.md"
    to.mkdir(parents=True, exist_ok=True)
    notes = to / f"{NAME}_notes.md"
    if notes.exists():
        parts.insert(2, notes.read_text(encoding="utf-8").strip())
    write_atomic(page, "\n\n".join(parts) + "\n")
    return page


def _intro(plan: Plan, every: Sequence[Study], groups: Mapping[str, Results], origin: str) -> str:
    splits = Counter(study.split for study in every)
    sizes = " and ".join(f"{len(one.studies)} of the {GROUPS[name]}" for name, one in groups.items())
    return "\n".join(
        (
            "# UniRG's ablation on phantom studies",
            "",
            f"Phantom data; nothing here is clinical, and no number here is UniRG's. {origin}",
            "",
            f"{len(every)} studies ({min(plan.train, splits['train'])} to train on, {splits['val']} for validation), and {plan.pretrain} of other patients for the base; test studies: {sizes}. "
            f"Every trained arm has {len(plan.seeds)} seed{'s' * (len(plan.seeds) > 1)}, the base one. A value is the mean of the seeds' corpus values; its 95% interval comes from "
            f"{plan.resamples} bootstrap resamples of seeds and patients, paired in differences. Bold: the interval excludes 0.",
            "",
            "SFT and RL alike are looked at on validation studies, and the best look, the start among them, is what is kept: SFT's by step 1's "
            "reward, RL's by its own. SFT of the same compute goes on from SFT for about as long as both steps of RL take (see Compute).",
        )
    )


def _claim(groups: Mapping[str, Results], found: Mapping[str, Sequence[Drafted]]) -> str:
    """Return the comparison that the whole is about, in words that follow from the numbers."""
    rows: list[list[str]] = []
    fails: dict[str, list[str]] = {arms.SFT_LONG: [], arms.SFT: []}
    for group, results in groups.items():
        by_name = named(found[group])
        for metric in CLAIMED:
            digits = digits_of(metric)
            row = [f"{title(metric)}, {group}"]
            for name, missed in fails.items():
                one = results.setting.paired(by_name[arms.STEP2], by_name[name], metric)
                each = ", ".join("n/a" if value is None else f"{value:+.{digits}f}" for value in one.each)
                row += [difference(one, digits), each.replace("-", "−"), _share(one)]
                if not better(metric, one):
                    missed.append(f"{metric} on the {GROUPS[group]}")
                elif metric == "errors_total" and (one.ratio is None or one.ratio > -FEWER):
                    missed.append(f"{FEWER:.0%} fewer errors on the {GROUPS[group]} ({_share(one)})")
            rows.append(row)
        row = [f"{WHOLE}, {group}"]
        for name, missed in fails.items():
            one = results.setting.together(by_name[arms.STEP2], by_name[name], PANEL)
            gained = difference(one, 3)
            row += ["", ", ".join(f"{value:+.0%}".replace("-", "−") for value in one.each if value is not None), gained]
            if not (excludes(one) and one.overall.value is not None and one.overall.value > 0):
                missed.append(f"the {WHOLE} on the {GROUPS[group]}")
        rows.append(row)
    holds = [
        f"Against {name} it {'holds in every line' if not missed else 'does not hold for: ' + '; '.join(missed)}."
        for name, missed in fails.items()
    ]
    head = ["metric, group"]
    for name in fails:
        head += [f"− {name}", "each seed", "relative"]
    return "\n\n".join(
        (
            "## Both steps of RL against SFT of the same compute, and against the SFT that they start from",
            "To be shown: better finding F1, at least 20% fewer errors a report, and better on the held-out panel, on both groups of "
            f"sites. The panel is read as a whole (the mean of its metrics' relative gains) and metric by metric. {' '.join(holds)}",
            f"No held-out metric is in either reward. {', '.join(one for one in PANEL if one not in WORDS)} count, by other rules, what the same "
            f"extractor reads; {' and '.join(one for one in PANEL if one in WORDS)} look at words alone.",
            table(head, rows),
        )
    )


def _share(one: seeds.SeedPaired) -> str:
    if one.ratio is None or one.ratio_low is None or one.ratio_high is None:
        return "n/a"
    return f"{one.ratio:+.0%} ({one.ratio_low:+.0%} to {one.ratio_high:+.0%})".replace("-", "−")


def _main(plan: Plan, seen: Results, systems: Sequence[Drafted], to: Path) -> str:
    shown = [("finding F1", "findings_f1"), ("errors a report", "errors_total"), ("ROUGE-L (held out)", "rouge_l")]
    trained = [one for one in systems if one.name not in evaluate.BASELINES]
    panels = [(name, [(one.name, seen.setting.estimate(one, metric)) for one in trained]) for name, metric in shown]
    plots.dots(to / f"{NAME}_arms.png", panels)
    panel = values(systems, tuple(dict.fromkeys((*PANEL, *WORDS))), seen.setting)
    return "\n\n".join(
        (
            "## Every arm, sites that were trained on",
            values(systems, HEAD, seen.setting),
            f"![Arms]({NAME}_arms.png)",
            "Held-out metrics, in no reward:",
            panel,
        )
    )


def _single(seen: Results, systems: Sequence[Drafted]) -> str:
    by_name = named(systems)
    base = by_name[arms.SFT]
    pairs = [(f"{name} − SFT", by_name[name], base) for name in (arms.SFT_LONG, *arms.SINGLE, arms.STEP1, arms.STEP2)]
    pairs.append(("both steps − step 1", by_name[arms.STEP2], by_name[arms.STEP1]))
    columns = (
        "findings_precision", "findings_recall", "errors_total", "lexical_similarity", "label_agreement", "entity_f1",
        "rouge_l", "length_ratio", "template_share", "duplicate_share", "contradiction_share",
    )  # fmt: skip
    return "\n\n".join(
        (
            "## What each reward does",
            "Differences to the SFT policy that RL starts from.",
            differences(pairs, columns, seen.setting),
            "What a reward of one metric costs, against step 1, which pays for all three at the same compute (lines whose interval excludes 0):",
            "\n".join(_cost(seen.setting, by_name, name, metric, columns) for name, metric in arms.SINGLE.items()),
        )
    )


def _cost(setting: Setting, by_name: Mapping[str, Drafted], name: str, paid: str, columns: Sequence[str]) -> str:
    """Return what a policy that was paid by one metric does better and worse than that of step 1."""
    told: dict[bool, list[str]] = {True: [], False: []}
    for metric in columns:
        if metric in GUARDS:
            continue
        one = setting.paired(by_name[name], by_name[arms.STEP1], metric)
        side = better(metric, one)
        if side is not None:
            mark = "**" if metric == paid else ""
            told[side].append(f"{mark}{metric}{mark} {difference(one, digits_of(metric), bold=False)}")
    said = [f"{word}: {'; '.join(told[side]) or 'nothing'}" for word, side in (("better", True), ("worse", False))]
    return f"- {name} (paid by {paid}): {'. '.join(said)}."


def _unseen(unseen: Results, systems: Sequence[Drafted]) -> str:
    return "\n\n".join(
        (
            "## The site that no training has seen",
            "Another exposure, another border and marker, other words for the same findings: text overlap is low for every system.",
            values(systems, (*HEAD[:7], *PANEL), unseen.setting),
        )
    )


def looks(out: Path, plan: Plan, training: str) -> list[list[Mapping[str, object]]]:
    """Return the looks of a training in each seed, in order; a look that was repeated after a kill counts once."""
    every = []
    for seed in plan.seeds:
        found = {
            one["step"]: one
            for one in JsonLines(chains.place(out, training, seed) / "events.jsonl").read()
            if one["event"] == "rl.look"
        }
        every.append([found[step] for step in sorted(found)])
    return every


LAST = (
    "reward",
    "entropy",
    "kl",
    "over_calling",
    "under_calling",
    "worst_over_calling",
    "worst_under_calling",
    "panel_loss",
)
"""What the last look at a policy in training says of it."""


def _last_looks(plan: Plan, out: Path) -> str:
    rows = []
    for arm in (arms.RL_ONLY, *arms.SINGLE, arms.STEP1, arms.STEP2):
        ends = [run[-1]["values"] for run in looks(out, plan, arms.ARMS[arm]) if run]
        row = [arm]
        for key in LAST:
            known = [one[key] for one in ends if one.get(key) is not None]
            row.append(f"{sum(known) / len(known):.3f}" if known else "")
        rows.append(row)
    return table(["last look", *(key.replace("_", " ") for key in LAST)], rows)


def _learning(plan: Plan, out: Path, to: Path) -> str:
    shown = (
        ("finding F1 of abnormal studies", "abnormal_f1"),
        ("ROUGE-L", "panel/rouge_l"),
        ("length ratio", "length_ratio"),
    )
    systems = {arm: looks(out, plan, arms.ARMS[arm]) for arm in (arms.STEP1, *arms.SINGLE)}
    panels = []
    for name, key in shown:
        lines = {
            arm: [
                [(one["step"], one["values"][key]) for one in run if one["values"].get(key) is not None]
                for run in trainings
            ]
            for arm, trainings in systems.items()
        }
        panels.append((name, lines))
    plots.curves(to / f"{NAME}_curves.png", panels)
    return "\n\n".join(
        (
            "## Over the steps of RL",
            "Validation studies, greedy drafts, a line a seed.",
            f"![Curves]({NAME}_curves.png)",
            "The last look, mean of the seeds: the reward of the arm itself, entropy of the rollouts (nats a token), KL to the policy that it "
            "started from where training has it, the share of findings called that are not there and missed that are, the greatest rise of either "
            "for one finding, and the mean loss of the held-out metrics since the start (less than 0: a gain).",
            _last_looks(plan, out),
        )
    )


def _hacks(out: Path) -> str:
    rows = []
    for kind in planted.KINDS:
        told = planted.told(out / "planted" / kind)
        first, last, kept = told["looks"][0], told["looks"][-1], told["kept"]
        name = (
            "every word of the reference, nothing for the others"
            if kind == "length"
            else "every finding that is not claimed"
        )
        keys = ("length_ratio", "under_calling", "abnormal_f1", "template_share")
        moved = [f"{first['values'][key]:.2f} → {last['values'][key]:.2f}" for key in keys]
        rows.append([name, kept.get("stopped") or "not stopped", str(last["step"]), str(kept.get("step", "")), *moved])
    ended = "Both were stopped." if all(row[1] != "not stopped" for row in rows) else "Not every one was stopped."
    return "\n\n".join(
        (
            "## Planted hacks",
            "RL on a reward that pays for a short cut, with the live guards on. A guard must end it, and what is kept must be a good policy "
            f"from before. {ended} One seed.",
            table(
                [
                    "pays for",
                    "stopped by",
                    "at step",
                    "kept: step",
                    "length ratio",
                    "under-calling",
                    "abnormal F1",
                    "template share",
                ],
                rows,
            ),
        )
    )


def _compute(plan: Plan, out: Path) -> str:
    rows = [
        [arm, " + ".join(arms.PATHS[arm]), f"{sum(each) / len(each):.1f}", ", ".join(f"{one:.1f}" for one in each)]
        for arm, each in chains.minutes(arms.PATHS, plan.seeds, out).items()
    ]
    return "\n\n".join(
        (
            "## Compute",
            "Processor minutes of all the trainings that an arm went through, looks and checkpoints among them.",
            table(["arm", "trainings", "minutes", "each seed"], rows),
        )
    )


def _every(groups: Mapping[str, Results], found: Mapping[str, Sequence[Drafted]]) -> str:
    parts = ["## Every metric that needs no weights"]
    columns = [name for name in measure.offline() if name not in HEAD]
    for group, results in groups.items():
        parts += [f"The {GROUPS[group]}, {len(results.studies)} studies:"]
        for start in range(0, len(columns), 8):
            parts.append(values(found[group], columns[start : start + 8], results.setting))
    return "\n\n".join(parts)
