"""Drafts and scores of one system on one group of test studies; and reading them back.

A group is a part of the test split: ``seen`` are the sites that were trained on, ``unseen`` the one that was not. Scored is
every metric that needs no weights, and every guard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from wetread import metrics
from wetread.records import Draft, Generation, InputConfig, Sampling, Score, Study
from wetread.runs import evaluate
from wetread.runs.store import JsonLines, RunFolder
from wetread.studies import folder

GROUPS = ("seen", "unseen")
LONGEST = 120
"""Most tokens of a draft; the longest reference has fewer."""
LONGEST_PASS = 420
"""Most tokens of a pass that thinks; the longest trace and report have fewer."""


def offline() -> tuple[str, ...]:
    """Return every metric that needs neither weights nor a judge and looks at the reference."""
    every = {name: metrics.get(name).spec for name in metrics.METRICS}
    return tuple(name for name, spec in every.items() if not spec.needs and not spec.reference_free)


def group(data: Path, name: str, limit: int = 0, split: str = "test") -> list[Study]:
    """Return the studies of a group of a phantom folder, the first so many of them."""
    if name not in GROUPS:
        raise ValueError(f"no group {name!r}; there are {', '.join(GROUPS)}")
    unseen = name == "unseen"
    found = [one for one in folder.read(data) if one.split == split and bool(one.meta.get("unseen_site")) == unseen]
    return found[: limit or None]


def place(out: Path, group: str, prior: str = "") -> Path:
    """Return where in a system's folder the scores of a group lie."""
    return out / (group + (f"-prior-{prior}" if prior else ""))


def make(data: Path, model: str, name: str, studies: Sequence[Study], out: Path, inputs: InputConfig) -> None:
    """Draft and score; what is there already is kept."""
    from wetread.models import open_model

    run = RunFolder.open(out, "measure", {"model": model, "name": name, "studies": len(studies)})
    if run.done("measured"):
        return
    if model in evaluate.BASELINES:
        training = [study for study in folder.read(data) if study.split == "train"]
        opened = evaluate.baselines(training, studies)[model]
    else:
        opened = open_model(model, device="cpu")
    opened.inputs = inputs.over(opened.inputs)
    drafts = evaluate.answer(opened, name, studies, Sampling(batch_size=64, max_new_tokens=LONGEST), run)
    evaluate.judge(name, drafts, studies, run, offline())
    run.event("measured")


def scores(out: Path, name: str) -> Mapping[str, Mapping[str, Score]]:
    """Return metric or guard to study to score, as ``make`` wrote them."""
    found: dict[str, dict[str, Score]] = {}
    for record in JsonLines(out / f"scores-{evaluate.slug(name)}.jsonl").read():
        for metric, one in record["scores"].items():
            found.setdefault(metric, {})[record["study"]] = Score(
                metric, one["value"], one.get("reason", ""), one.get("counts", {})
            )
    return found


def drafts(out: Path, name: str) -> Mapping[str, Draft]:
    """Return study to draft."""
    from wetread.prompts import direct

    lines = JsonLines(out / f"generations-{evaluate.slug(name)}.jsonl").read()
    return {record["study"]: direct.STYLE.parse(Generation.from_json(record)) for record in lines}
