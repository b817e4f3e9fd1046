"""From the demo's run folder to the data of its result page."""

from __future__ import annotations

import datetime
import io
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

import wetread
from wetread import knowledge
from wetread.demo.loop import RL, RL_STAGES, SFT, Result, events
from wetread.knowledge.tree import phrase
from wetread.prompts.direct import frontal
from wetread.records import Image, Report, Study
from wetread.review import Cell, Column, Curve, DraftView, Example, Line, Mark, PageData, Picture, TableRow, write_page
from wetread.runs.config import to_dict
from wetread.runs.evaluate import Row
from wetread.runs.table import HEADINGS

EXAMPLES = 12
"""Test studies shown."""


def write(out: Path, result: Result) -> Path:
    """Write ``out/index.html`` and return it."""
    data = PageData(
        title="wetread demo",
        columns=tuple(Column(h.label, h.better, h.digits, _signature(result.rows, h.metric)) for h in HEADINGS),  # type: ignore[arg-type]
        rows=_rows(result.rows),
        differences=tuple(
            TableRow(
                label,
                tuple(Cell(d.value, d.low, d.high) for d in (found[h.metric] for h in HEADINGS)),
                "paired, same studies",
            )
            for label, found in result.gain.items()
        ),
        curves=_curves(out),
        examples=tuple(_example(result.studies[place], place, result) for place in _chosen(result)),
        chosen=f"Shown are studies evenly spaced from the fewest to the most errors of {result.systems[-1].name}; nobody picked them",
        made=_made(result),
        config=yaml.safe_dump({**to_dict(result.config), **to_dict(result.recipe.identity())}, sort_keys=False),
        summary=_summary(result),
        sample=f"{len(result.studies)} test studies of the sites that were trained on; intervals by bootstrap over patients",
    )
    return write_page(out / "index.html", data)


def _signature(rows: Sequence[Row], metric: str) -> str:
    return next((row.signature for row in rows if row.metric == metric), "")


def _rows(rows: Sequence[Row]) -> tuple[TableRow, ...]:
    systems: dict[str, dict[str, Row]] = {}
    for row in rows:
        systems.setdefault(row.system, {})[row.metric] = row
    return tuple(
        TableRow(
            system, tuple(Cell(cells[h.metric].value, cells[h.metric].low, cells[h.metric].high) for h in HEADINGS)
        )
        for system, cells in systems.items()
    )


def _summary(result: Result) -> tuple[str, ...]:
    gain = next(iter(result.gain.values()))
    said = []
    for metric, words, better in (
        ("findings_f1", "finding F1 (micro)", 1),
        ("errors_total", "errors per report", -1),
    ):
        found = gain[metric]
        if found.value is None or found.low is None or found.high is None:
            continue
        clear = found.low > 0 or found.high < 0
        way = "better" if found.value * better > 0 else "worse"
        verdict = f"{way}; the paired 95% interval excludes 0" if clear else "the paired 95% interval includes 0"
        said.append(f"RL changed {words} by {found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f}): {verdict}.")
    unseen = {row.system: row for row in result.unseen if row.metric == "findings_f1"}
    if SFT in unseen and RL in unseen and unseen[SFT].value is not None and unseen[RL].value is not None:
        said.append(
            f"On the site held out of training ({unseen[SFT].n} studies): finding F1 (micro) {unseen[SFT].value:.3f} after SFT, "
            f"{unseen[RL].value:.3f} after SFT+RL."
        )
    said += [f"A guard says of {result.systems[-1].name}: {alarm}." for alarm in result.alarms]
    return tuple(said)


def _curves(out: Path) -> tuple[Curve, ...]:
    sft = events(out, "sft")
    curves = [
        _curve(
            "SFT: loss",
            "cross-entropy (nats per token)",
            sft,
            {"loss": "loss"},
            "Training loss of the supervised stage.",
        )
    ]
    steps = [dict(event) for event in events(out, RL_STAGES[0])]
    first = len(steps)
    steps += [{**event, "step": event["step"] + first} for event in events(out, RL_STAGES[1])]
    terms = {key: key.removeprefix("term/") for event in steps for key in event if key.startswith("term/")}
    note = f"Step 2 (error term and KL) begins after step {first}."
    curves.append(_curve("GRPO: reward", "mean reward of the rollouts", steps, {"reward": "reward"}, note))
    curves.append(
        _curve(
            "GRPO: terms of the reward",
            "mean over rollouts",
            steps,
            {k: "0.5 / (errors + 1)" if "errors" in v else v for k, v in terms.items()},
            note,
        )
    )
    curves.append(
        _curve(
            "GRPO: guards",
            "share or ratio",
            steps,
            {
                "guard/length_ratio": "length ratio",
                "guard/distinct_drafts": "distinct drafts",
                "entropy": "entropy (nats per token)",
            },
            "What must not collapse while the reward rises.",
        )
    )
    return tuple(curve for curve in curves if curve.lines)


def _curve(title: str, unit: str, steps: Sequence[Mapping[str, float]], keys: Mapping[str, str], note: str) -> Curve:
    lines = []
    for key, name in keys.items():
        points = [(float(event["step"]), float(event[key])) for event in steps if key in event]
        if len(points) < 2:
            continue
        xs, ys = tuple(x for x, _ in points), tuple(y for _, y in points)
        if len(keys) == 1:
            lines.append(Line(name + " (raw)", xs, ys, faint=True))
        lines.append(Line(name, xs, _smooth(ys)))
    return Curve(title, "optimiser step", unit, tuple(lines), note)


def _smooth(values: Sequence[float]) -> tuple[float, ...]:
    """Return the running mean over a tenth of the curve, at least three points."""
    width = max(3, len(values) // 10)
    return tuple(float(np.mean(values[max(0, i - width + 1) : i + 1])) for i in range(len(values)))


def _chosen(result: Result) -> list[int]:
    """Return the places of the studies shown: evenly spaced from the fewest to the most errors of the last system.

    So the dozen has the share of good and bad drafts that the whole split has, and nobody picks.
    """
    scores = result.systems[-1].scores["errors_total"]
    worst = [scores[study.id].value for study in result.studies]
    ranked = sorted(range(len(worst)), key=lambda place: (-1.0 if worst[place] is None else worst[place], place))
    count = min(EXAMPLES, len(ranked))
    return [ranked[(2 * number + 1) * len(ranked) // (2 * count)] for number in range(count)]


def _example(study: Study, place: int, result: Result) -> Example:
    image = frontal(study)
    pictures = [Picture(_png(image), f"{image.view}")]
    if study.prior is not None and study.prior.images:
        pictures.append(Picture(_png(study.prior.images[0]), f"prior, {study.prior.images[0].view}"))
    reference = study.report or Report()
    drafts = tuple(
        _draft_view(system.name, draft.report if (draft := system.drafts[place]) else Report(), reference)
        for system in result.systems
        if system.name in (SFT, RL)
    )
    who = ", ".join(str(part) for part in (study.sex, f"{study.age} years" if study.age is not None else "") if part)
    asked = f"Indication: {study.indication}" if study.indication else ""
    return Example(
        study.id,
        tuple(pictures),
        reference.text,
        drafts,
        ". ".join(part for part in (who, asked, study.comparison) if part),
    )


def _draft_view(system: str, report: Report, reference: Report) -> DraftView:
    wrong: list[Mark] = []
    omitted: list[Mark] = []
    errors: dict[str, tuple[str, ...]] = {}
    for found in knowledge.differences(reference, report):
        kind = found.kind.replace("_", " ")
        told = _told(found)
        errors[kind] = (*errors.get(kind, ()), told)
        if found.draft is not None and found.draft.span is not None:
            wrong.append(Mark(*found.draft.span, kind, told))
        if found.kind.startswith("omitted") and found.reference is not None and found.reference.span is not None:
            omitted.append(Mark(*found.reference.span, kind, told))
    return DraftView(system, report.text, tuple(wrong), tuple(omitted), errors, "" if report else "no draft")


def _told(found: knowledge.Difference) -> str:
    """Return what differs, such as ``left pleural effusion, reference says right``."""
    if found.draft is not None and found.reference is not None:
        return f"{phrase(found.draft)} (reference: {phrase(found.reference)})"
    return phrase(found.draft or found.reference)  # type: ignore[arg-type]


def _png(image: Image) -> bytes:
    from PIL import Image as Pillow

    grey = np.clip(image.pixels() * 255 + 0.5, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(grey).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _made(result: Result) -> dict[str, str]:
    import torch
    import transformers
    import trl

    quick = " --quick" if result.config.test_limit else ""
    return {
        "command": f"wetread demo{quick} --seed {result.config.seed}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "duration": f"{result.seconds / 60:.1f} minutes until scored",
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}",
        "versions": f"wetread {wetread.__version__}, torch {torch.__version__}, transformers {transformers.__version__}, TRL {trl.__version__}",
    }
