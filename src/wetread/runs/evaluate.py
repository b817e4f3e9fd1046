"""The evaluation loop: systems write drafts for the studies of a split, metrics score them, intervals go beside them.

Everything is keyed by study id. Drafts and scores are stored as they are made, so that a killed evaluation continues and
a new metric is computed without generating again.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wetread import metrics, prompts
from wetread.errors import UsageError
from wetread.knowledge import extract
from wetread.models import NORMAL, CopyModel, Model, Progress, TemplateModel
from wetread.records import Draft, Generation, Report, Sampling, Score, Study
from wetread.rewards import guards
from wetread.rewards.guards import FindingCalls
from wetread.rewards.rules import PANEL
from wetread.runs import compare, passes, thinking
from wetread.runs.store import RunFolder
from wetread.studies.folder import check_shown
from wetread.studies.splits import patient_key
from wetread.studies.temporal import temporal

PERCEPTION = "perception_f1"
"""The measure that is held against the truth where that is known."""
TEMPLATE = "template"
MOST_FREQUENT = "most frequent report"
COPY_PRIOR = "copy prior"
BASELINES = (TEMPLATE, MOST_FREQUENT, COPY_PRIOR)

METRICS = (
    "findings_f1", "findings_f1_macro", "findings_precision", "findings_recall", "errors_total",
    "errors_significant", "entity_f1", "labels14_f1_micro", "bleu_2_rexrank", "rouge_l",
    *(name for name in PANEL if name != "rouge_l"),
)  # fmt: skip
"""What every system is scored by, in order; the last ones are the metrics that rewards are checked by."""
GUARDS = ("length_ratio", "duplicate_share", "template_share", "contradiction_share", "abnormal_f1")
"""What every system is watched by; these have no better direction of their own."""


@dataclass(frozen=True)
class Row:
    """One number of the table."""

    system: str
    """Name of the system."""
    metric: str
    """Name of the metric or guard."""
    value: float | None
    """Corpus value; None: not scored."""
    low: float | None
    """Lower end of the 95% bootstrap interval over patients."""
    high: float | None
    """Upper end."""
    n: int
    """Studies scored."""
    signature: str
    """``name|version|weights|sections|normalisation|n``."""
    stratum: str = ""
    """``column=value`` when the row is about a part of the studies."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class System:
    """One system's drafts, in the studies' order, and their scores."""

    name: str
    """Name in the table."""
    drafts: tuple[Draft | None, ...]
    """None where generation failed; such a study is not scored and the coverage says so."""
    scores: Mapping[str, Mapping[str, Score]]
    """Metric or guard to study to score."""


def answer(
    model: Model,
    name: str,
    studies: Sequence[Study],
    sampling: Sampling,
    run: RunFolder,
    progress: Progress | None = None,
    rounds: int = passes.ROUNDS,
) -> tuple[Draft | None, ...]:
    """Return one draft a study, generating only those that the run folder does not hold yet.

    A style that corrects itself does so at most ``rounds`` times.

    What has failed before is tried again. Drafts are written in pieces of four batches; ``generations-NAME.jsonl`` keeps the model's own words.

    Raises
    ------
    StudyError
        A study has no image.
    """
    check_shown(studies)
    style = prompts.of(model)
    lines = run.lines(f"generations-{slug(name)}")
    kept = {study: one for study, one in _latest(lines.read()).items() if one["stop"] != "error"}
    missing = [study for study in studies if study.id not in kept]
    if progress is not None and len(missing) < len(studies):
        progress(len(studies) - len(missing))
    step = 4 * sampling.batch_size
    for start in range(0, len(missing), step):
        piece = missing[start : start + step]
        asked = [style.render(study) for study in piece]
        made = passes.generate(model, style, asked, sampling, rounds, progress)
        lines.append(*(one.to_json() for one in made))
        kept |= {one.study: one.to_json() for one in made}
    generations = [Generation.from_json(kept[study.id]) for study in studies]
    return tuple(None if _lost(one) else passes.read(style, one) for one in generations)


def _lost(one: Generation) -> bool:
    """Whether generation failed so that there is nothing to score; where a reflection failed the pass before it stands."""
    return one.stop == "error" and not one.earlier


def failure(name: str, study: str, run: RunFolder) -> str:
    """Return why a system has no draft for a study, as its run folder says."""
    record = _latest(run.lines(f"generations-{slug(name)}").read()).get(study, {})
    return str(record.get("error") or "it was not generated")


def lost(name: str, drafts: Sequence[Draft | None], studies: Sequence[Study], run: RunFolder) -> str:
    """Return how many studies a system has no draft for, and why the first has none; empty where all have one."""
    missing = [study.id for study, one in zip(studies, drafts, strict=True) if one is None]
    if not missing:
        return ""
    why = failure(name, missing[0], run)
    return f"{name}: {len(missing)} of {len(studies)} studies have no draft; the first: {why}"


def _latest(records: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {record["study"]: record for record in records}


def baselines(training: Sequence[Study], studies: Sequence[Study] = ()) -> dict[str, Model]:
    """Return the systems that every table carries: the constant template and the most frequent training report.

    Where some of ``studies``, those to be scored, have a prior with a report, also the one that copies it; a study
    without one gets the most frequent report.
    """
    models: dict[str, Model] = {TEMPLATE: TemplateModel(name=TEMPLATE)}
    counted = Counter(study.report for study in training if study.report)
    frequent = min(counted, key=lambda one: (-counted[one], one.text)) if counted else NORMAL
    if counted:
        models[MOST_FREQUENT] = TemplateModel(frequent, name=MOST_FREQUENT)
    priors = {study.id: study.prior.report for study in studies if study.prior and study.prior.report}
    if priors:
        models[COPY_PRIOR] = CopyModel(priors, frequent, name=COPY_PRIOR)
    return models


def judge(
    name: str,
    drafts: Sequence[Draft | None],
    studies: Sequence[Study],
    run: RunFolder,
    names: Sequence[str] = METRICS,
) -> System:
    """Score a system by the metrics ``names`` and every guard, and write ``scores-NAME.jsonl``.

    An unreadable draft is the model's doing and is scored as the empty report it is; a failed generation is ours and is
    not scored.
    """
    pairs = [(draft, study.report) for draft, study in zip(drafts, studies, strict=True)]
    reports = [draft.report for draft, _ in pairs if draft is not None]
    references = [report or Report() for draft, report in pairs if draft is not None]
    found = dict(metrics.score(names, reports, references))
    found |= {guard: guards.get(guard)(reports, references) for guard in GUARDS}
    scores: dict[str, Mapping[str, Score]] = {
        metric: _spread(drafts, studies, values, metric) for metric, values in found.items()
    }
    scores |= _thinking(drafts, studies)
    lines = run.lines(f"scores-{slug(name)}")
    written = {record["study"] for record in lines.read()}
    lines.append(
        *(
            {
                "study": study.id,
                "system": name,
                "scores": {metric: values[study.id].to_json() for metric, values in scores.items()},
            }
            for study, draft in zip(studies, drafts, strict=True)
            if study.id not in written and draft is not None
        )
    )
    return System(name, tuple(drafts), scores)


def _thinking(drafts: Sequence[Draft | None], studies: Sequence[Study]) -> dict[str, Mapping[str, Score]]:
    """Return what is to be said of thoughts and passes; nothing where no draft has any.

    A perception is held against the truth where that is known; all else against the report, as the metrics are.
    """
    if not thinking.thought_of(drafts):
        return {}
    made = {study.id: draft or Draft(study.id, Report()) for study, draft in zip(studies, drafts, strict=True)}
    told = {study.id: extract(study.report or Report()) for study in studies}
    true = {study.id: told[study.id] if study.findings is None else study.findings for study in studies}
    others = [name for name in thinking.MEASURES if name != PERCEPTION]
    return {**thinking.score(made, told, others), **thinking.score(made, true, [PERCEPTION])}


def rows(
    system: System,
    studies: Sequence[Study],
    *,
    seed: int,
    resamples: int,
    stratum: str = "",
    keep: Sequence[int] | None = None,
) -> list[Row]:
    """Return the table rows of a system, over all studies or those whose numbers are in ``keep``."""
    chosen = studies if keep is None else [studies[i] for i in keep]
    clusters = patients(chosen)
    made = []
    for metric, scores in system.scores.items():
        part = {study.id: scores[study.id] for study in chosen}
        at = compare.estimate(metric, part, clusters=clusters, seed=seed, resamples=resamples)
        made.append(
            Row(system.name, metric, at.value, at.low, at.high, at.n, compare.signature_of(metric, n=at.n), stratum)
        )
    return made


def calls(system: System, studies: Sequence[Study]) -> tuple[FindingCalls, ...]:
    """Return how a system calls each finding, by name; studies without a draft of ours are left out."""
    pairs = [
        (draft.report, study.report or Report())
        for draft, study in zip(system.drafts, studies, strict=True)
        if draft is not None
    ]
    return guards.finding_calls([draft for draft, _ in pairs], [reference for _, reference in pairs])


def patients(studies: Sequence[Study]) -> dict[str, str]:
    """Return study to patient, the clusters of every bootstrap; a study without a patient stands for itself.

    Patients are told apart by source as well: ``p1`` of one corpus is somebody else than ``p1`` of another.
    """
    return {study.id: _BETWEEN.join(patient_key(study) or (study.source, "", study.id)) for study in studies}


_BETWEEN = "\x1f"
"""Stands between the parts of a cluster's name; within a source patients keep their order, and so a bootstrap its numbers."""


def strata(column: str, studies: Sequence[Study]) -> dict[str, list[int]]:
    """Return ``column=value`` to the numbers of the studies; ``column`` is a key of their meta or one that all have.

    All have site, sex, prior (whether there is one) and temporal (``studies.temporal``). Encounters from the fifth on are one.

    Raises
    ------
    UsageError
        No study has that column; names those that exist.
    """

    def value(study: Study) -> Any:
        if column in study.meta:
            found = study.meta[column]
            return "5+" if column == "encounter" and isinstance(found, int) and found >= 5 else found
        return _COLUMNS[column](study) if column in _COLUMNS else None

    known = sorted({*_COLUMNS, *(key for study in studies for key in study.meta)})
    if column not in known:
        raise UsageError(f"no column {column!r} to stratify by; there are: {', '.join(known)}.")
    groups: dict[str, list[int]] = {}
    for i, study in enumerate(studies):
        groups.setdefault(f"{column}={value(study)}", []).append(i)
    return dict(sorted(groups.items()))


_COLUMNS: Mapping[str, Callable[[Study], str]] = {
    "site": lambda study: study.site,
    "sex": lambda study: study.sex,
    "prior": lambda study: "yes" if study.prior else "no",
    "temporal": temporal,
}


def differences(
    better: System, base: System, studies: Sequence[Study], *, seed: int, resamples: int
) -> dict[str, compare.Paired]:
    """Return metric to the paired difference ``better`` − ``base`` with its interval over patients."""
    clusters = patients(studies)
    return {
        metric: compare.paired(metric, scores, base.scores[metric], clusters=clusters, seed=seed, resamples=resamples)
        for metric, scores in better.scores.items()
    }


def slug(name: str) -> str:
    """Return a name as part of a file name.

    >>> slug("SFT+RL, step 2")
    'sft-rl-step-2'
    """
    kept = "".join(c if c.isalnum() else " " for c in name.lower())
    return "-".join(kept.split()) or "system"


def _spread(
    drafts: Sequence[Draft | None], studies: Sequence[Study], values: Sequence[Score], metric: str
) -> dict[str, Score]:
    """Key the scores of the drafts that exist by study; the others are not scored."""
    rest = iter(values)
    return {
        study.id: Score(metric, None, "generation failed") if draft is None else next(rest)
        for study, draft in zip(studies, drafts, strict=True)
    }
