"""The page of Med-R2's ablation: tables and plots out of the scores that its jobs left."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ablation import chains, measure, plots, thinking
from ablation import med_arms as arms
from ablation.med_arms import Plan
from ablation.tables import Drafted, Setting, better, cell, difference, differences, table, title, values
from wetread.knowledge import differences as errors_of
from wetread.knowledge import extract
from wetread.records import Draft, Generation, Report, Study
from wetread.runs import passes
from wetread.runs.store import JsonLines, write_atomic
from wetread.studies import folder

NAME = "med_r2_phantom"
GROUPS: Mapping[str, str] = {"seen": "sites that were trained on", "unseen": "site that was not"}
HEAD = (
    "perception_f1",
    "findings_f1",
    "findings_f1_macro",
    "abnormal_f1",
    "errors_total",
    "rouge_l",
    "length_ratio",
    "tokens",
)
CLAIMED = ("perception_f1", "findings_f1")
"""What each part of the method must raise."""
FAITHFUL = ("supported_share", "reported_share")
SECOND = (
    "fixed",
    "broken",
    "untouched",
    "never_worse",
    "improved",
    "changed",
    "right_kept",
    "no_error_share",
    "critique_f1",
)
KEPT = 0.95
"""Never-worse rate that is asked for."""
INSIDE = {arms.FIRST: (arms.FULL, thinking.FIRST), arms.BEST: (arms.KNOWS, thinking.BEST)}
"""Arm that lies in the folder of another one to that one and the part of it."""


class Results:
    """Everything that was scored on one group of studies."""

    def __init__(self, plan: Plan, out: Path, group: str) -> None:
        self.plan, self.out, self.group = plan, out, group
        self.studies: Sequence[Study] = measure.group(out / chains.DATA, group, plan.test_limit, plan.split)
        self.setting = Setting.of(self.studies, plan.resamples)

    def folder(self, arm: str, seed: int) -> Path:
        """Return where an arm's drafts and scores lie."""
        inside, part = INSIDE.get(arm, (arm, ""))
        return measure.place(chains.scored(self.out, inside, seed), self.group, part)

    def system(self, arm: str) -> Drafted:
        """Return an arm with its scores, a training after another."""
        return Drafted(arm, tuple(measure.scores(self.folder(arm, seed), arm) for seed in self.plan.seeds))

    def systems(self, several: Sequence[str]) -> list[Drafted]:
        """Return arms."""
        return [self.system(arm) for arm in several]


def write(plan: Plan, out: Path, data: Path, origin: str, to: Path) -> Path:
    """Write the page and its plots to the folder ``to`` and return the page; ``origin`` says where its numbers come from."""
    every = {name: Results(plan, out, name) for name in GROUPS}
    groups = {name: one for name, one in every.items() if one.studies}
    seen = groups["seen"]
    parts = [
        _intro(plan, folder.read(data), groups, origin),
        _claims(groups),
        _arms(seen, to),
        _second(seen, to),
        *([_unseen(groups["unseen"])] if "unseen" in groups else []),
        _joined(groups),
        _labelled(seen),
        _written(plan, out),
        _compute(plan, out),
        _every(seen),
    ]
    notes = to / f"{NAME}_notes.md"
    if notes.exists():
        parts.insert(2, notes.read_text(encoding="utf-8").strip())
    to.mkdir(parents=True, exist_ok=True)
    page = to / f"{NAME}.md"
    write_atomic(page, "\n\n".join(parts) + "\n")
    return page


def _intro(plan: Plan, every: Sequence[Study], groups: Mapping[str, Results], origin: str) -> str:
    splits = Counter(study.split for study in every)
    sizes = " and ".join(f"{len(one.studies)} of the {GROUPS[name]}" for name, one in groups.items())
    several = len(plan.seeds) > 1
    return "\n\n".join(
        (
            "# Med-R2's ablation on phantom studies",
            "Phantom data; nothing here is clinical. Of Med-R2 (arXiv 2504.02885) the idea is known to us, and no prompt, table or hyper-parameter: this is "
            f"our design in its spirit, and no number here is the paper's. {origin}",
            f"{len(every)} studies ({min(plan.train, splits['train'])} to train on, {splits['val']} for validation), and {plan.pretrain} of other patients for the base; scored on the "
            f"{plan.split} split: {sizes}. Every arm has {len(plan.seeds)} seed{'s' * several}; base and traces are one. A value is the mean of the seeds' corpus "
            f"values; its 95% interval comes from {plan.resamples} bootstrap resamples of seeds and patients, paired in differences. Bold: the interval excludes 0.",
            "Perception is held against the phantom's truth, all else against the reports. A draft without a thought perceives what its report claims. The best look at "
            "validation studies is what is kept of every training.",
        )
    )


def _claims(groups: Mapping[str, Results]) -> str:
    """Return what is to be shown, in words that follow from the numbers."""
    pairs = (
        (arms.KNOWS, arms.DIRECT), (arms.FULL, arms.FIRST), (arms.FULL, arms.KNOWS), (arms.FULL, arms.TWICE),
        (arms.FULL, arms.BEST), (arms.TREE, arms.SHUFFLED), (arms.KNOWS, arms.TREE), (arms.TREE, arms.FREE), (arms.FULL, arms.CLOSER),
    )  # fmt: skip
    rows, said = [], []
    for a, b in pairs:
        row = [f"{a} − {b}"]
        for name, results in groups.items():
            one, other = results.system(a), results.system(b)
            for metric in CLAIMED:
                found = results.setting.paired(one, other, metric)
                each = ", ".join("n/a" if value is None else f"{value:+.3f}" for value in found.each).replace("-", "−")
                row.append(f"{difference(found)}; {each}")
                if name == "seen" and (a, b) in pairs[:3]:
                    told = {True: "is better", False: "is worse", None: "is not shown to differ"}[better(metric, found)]
                    said.append(f"{a} {told} in {title(metric).strip(' ↑')} than {b}")
        rows.append(row)
    kept = groups["seen"].setting.estimate(groups["seen"].system(arms.FULL), "never_worse")
    share = "not scored" if kept.value is None else cell(kept)
    head = ["difference"] + [f"{title(metric)}, {name}" for name in groups for metric in CLAIMED]
    return "\n\n".join(
        (
            "## What each part adds",
            "To be shown: reasoning with tree and knowledge beats direct SFT of the same compute in perception and finding F1; reflection raises both again and leaves at least "
            f"{KEPT:.0%} of the reports no worse. On the sites that were trained on: {'; '.join(said)}. Never-worse rate: {share}.",
            "Beside each difference with its interval: seed by seed.",
            table(head, rows),
        )
    )


def _arms(seen: Results, to: Path) -> str:
    systems = seen.systems(arms.ROWS)
    panels = [
        (name, [(one.name, seen.setting.estimate(one, metric)) for one in systems])
        for name, metric in (
            ("perception F1", "perception_f1"),
            ("finding F1", "findings_f1"),
            ("errors a report", "errors_total"),
        )
    ]
    plots.dots(to / f"{NAME}_arms.png", panels)
    thinkers = [one for one in systems if one.name != arms.DIRECT]
    return "\n\n".join(
        (
            "## Every arm, sites that were trained on",
            values(systems, HEAD, seen.setting),
            f"![Arms]({NAME}_arms.png)",
            "Faithfulness: the share of report findings that the perception has, and of perceived findings that the report has.",
            values(thinkers, FAITHFUL, seen.setting),
        )
    )


def _second(seen: Results, to: Path) -> str:
    several = seen.systems((arms.FULL, arms.TWICE, arms.RL_REFLECTED))
    fixed, broken = _by_finding(seen, arms.FULL)
    names = sorted(fixed.keys() | broken.keys(), key=lambda name: -(fixed[name] + broken[name]))[:14]
    count = len(seen.studies) * len(seen.plan.seeds) or 1
    shares = {
        word: [100 * found[name] / count for name in names] for word, found in (("fixed", fixed), ("broken", broken))
    }
    plots.bars(to / f"{NAME}_second.png", "errors in 100 reports", names, shares)
    return "\n\n".join(
        (
            "## The second look",
            "Errors a report that are gone, new, and left; the share of reports that are no worse, better and changed; of error-free first passes the share that stays so.",
            values(several, SECOND, seen.setting),
            f"By finding, {arms.FULL}:",
            f"![Second look]({NAME}_second.png)",
        )
    )


def _by_finding(seen: Results, arm: str) -> tuple[Counter[str], Counter[str]]:
    """Return finding to errors that the second look fixed, and that it made, all seeds together."""
    fixed: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    told = {study.id: extract(study.report or Report()) for study in seen.studies}
    for seed in seen.plan.seeds:
        for study, draft in _drafts(seen.folder(arm, seed), arm).items():
            if study not in told or not draft.passes or not draft.passes[0].readable:
                continue
            before, after = (
                {(one.kind, one.finding) for one in errors_of(told[study], report)}
                for report in (draft.passes[0].report, draft.report)
            )
            fixed.update(name for _, name in before - after)
            broken.update(name for _, name in after - before)
    return fixed, broken


def _drafts(place: Path, arm: str) -> dict[str, Draft]:
    from wetread import prompts
    from wetread.runs.evaluate import slug

    style = prompts.get("reflected")
    lines = JsonLines(place / f"generations-{slug(arm)}.jsonl").read()
    return {one["study"]: passes.read(style, Generation.from_json(one)) for one in lines}


def _unseen(unseen: Results) -> str:
    return "\n\n".join(
        (
            "## The site that no training has seen",
            values(unseen.systems(arms.ROWS), HEAD, unseen.setting),
            values(unseen.systems((arms.FULL, arms.TWICE)), SECOND[:7], unseen.setting),
        )
    )


def _joined(groups: Mapping[str, Results]) -> str:
    starts = {arms.RL_DIRECT: arms.DIRECT, arms.RL_REASONED: arms.KNOWS, arms.RL_REFLECTED: arms.FULL}
    parts = [
        "## With UniRG's two steps of RL",
        "The reward sees the final report alone. Steps are fewer where completions are longer, so that the processor time is about the same.",
    ]
    for name, results in groups.items():
        by_name = {arm: results.system(arm) for arm in (*starts, *starts.values())}
        pairs = [(f"{arm} − {start}", by_name[arm], by_name[start]) for arm, start in starts.items()]
        pairs += [
            (f"{arm} − {arms.RL_DIRECT}", by_name[arm], by_name[arms.RL_DIRECT])
            for arm in (arms.RL_REASONED, arms.RL_REFLECTED)
        ]
        parts += [
            f"The {GROUPS[name]}:",
            values([by_name[arm] for arm in starts], HEAD, results.setting),
            differences(pairs, (*CLAIMED, "findings_f1_macro", "errors_total", "rouge_l"), results.setting),
        ]
    return "\n\n".join(parts)


def _labelled(seen: Results) -> str:
    systems = seen.systems(arms.ANSWERS)
    columns = ("inconsistent_share", "findings_f1", "labels14_f1_micro", "errors_total", "length_ratio")
    return "\n\n".join(
        (
            "## Labels and narrative that agree",
            "The style `labelled`, and RL on the ready reward `self_consistent`: F1 of narrative and of labels, and their agreement times the narrative's.",
            values(systems, columns, seen.setting),
            differences(
                [(f"{systems[1].name} − {systems[0].name}", systems[1], systems[0])], columns[:4], seen.setting
            ),
        )
    )


def _written(plan: Plan, out: Path) -> str:
    rows = []
    for name in ("reflections", "again"):
        for seed in plan.seeds:
            told = json.loads((chains.place(out, name, seed) / "yield.json").read_text("utf-8"))
            kinds = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in told["errors"].items())
            lessons = ", ".join(f"{count} {kind}" for kind, count in told["lessons"].items())
            share = "n/a" if told["right_share"] is None else f"{told['right_share']:.1%}"
            rows.append([f"{name}, seed {seed}", str(told["drawn"]), str(told["unreadable"]), share, lessons, kinds])
    traces = []
    for name in arms.TRACES:
        every = [one["faults"] for one in JsonLines(out / name / "traces.jsonl").read()]
        traces.append(f"{name.partition('-')[2]} {sum(not faults for faults in every)} of {len(every)}")
    return "\n\n".join(
        (
            "## What was learned from",
            f"Traces accepted: {', '.join(traces)}. Lessons of the second turn: first passes sampled on training studies (`again`: from the policy that "
            "reflects, for its RL), the share of them without an error, and what was kept.",
            table(["lessons", "first passes", "unreadable", "right", "kept", "errors that they correct"], rows),
        )
    )


def _compute(plan: Plan, out: Path) -> str:
    rows = [
        [arm, " + ".join(arms.PATHS[arm]), f"{sum(each) / len(each):.1f}", ", ".join(f"{one:.1f}" for one in each)]
        for arm, each in chains.minutes(arms.PATHS, plan.seeds, out, arms.shared(out)).items()
    ]
    return "\n\n".join(
        (
            "## Compute",
            "Processor minutes of all that an arm went through after the base: traces, first passes that were sampled, trainings with their looks and checkpoints.",
            table(["arm", "what", "minutes", "each seed"], rows),
        )
    )


def _every(seen: Results) -> str:
    systems = seen.systems((*arms.ROWS, *arms.JOINED))
    columns = [name for name in measure.offline() if name not in HEAD]
    parts = ["## Every metric that needs no weights", f"The {GROUPS['seen']}."]
    for start in range(0, len(columns), 8):
        parts.append(values(systems, columns[start : start + 8], seen.setting))
    return "\n\n".join(parts)
