"""Looks at the policy while it is trained: what it drafts for studies that it is not trained on, judged by more than its reward.

At the start, every so many steps and at the end the same studies are drafted, greedily. Guards, held-out metrics and the
trainer's own log are held against the start (``rewards.rules``); a look that breaks a rule warns, or ends the training. Every
look has a checkpoint, and the policy that becomes the model is the best of those that broke nothing, not the last.

All that is remembered are the events of the looks in the run folder, so a training that is killed and continued decides as
it would have. With several processes each drafts a part, the first judges, and all obey.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from wetread import metrics, rewards
from wetread.errors import ConfigError, GuardWarning, nearest
from wetread.models.transformers import TransformersModel
from wetread.prompts import Style
from wetread.records import Draft, Generation, Report, Sampling, Study
from wetread.rewards import FindingCalls, guard, rules
from wetread.rewards.rules import Values
from wetread.runs.store import RunFolder
from wetread.studies import folder
from wetread.training import processes
from wetread.training.config import GuardConfig, RlConfig
from wetread.training.loop import WHOLE
from wetread.training.rewarding import ReportReward

LOOK, KEPT = "look", "kept"
LOGGED = {"entropy": "entropy", "kl": "kl", "unscored": "guard/unscored"}
"""What comes from the trainer's log, by its name there."""
FEWEST = 20
"""Fewer studies than this say too little to end a training by; their guards only warn."""
WORST = -sys.float_info.max


@dataclass(frozen=True)
class Look:
    """What a look at the policy found."""

    step: int
    """Optimiser steps done."""
    values: Values
    """Name to value, see ``rewards.rules.VALUES``; ``panel/METRIC`` for each held-out metric."""
    calls: tuple[FindingCalls, ...] = ()
    """How each finding was called."""
    score: float | None = None
    """What policies are chosen by; more is better."""
    warn: tuple[str, ...] = ()
    """Rules that are broken, in words."""
    stop: tuple[str, ...] = ()
    """Rules that are broken badly enough to end the training."""
    failed: int = field(default=0, compare=False)
    """Studies that could not be drafted."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "step": self.step,
            "score": self.score,
            "warn": list(self.warn),
            "stop": list(self.stop),
            "failed": self.failed,
            "values": dict(self.values),
            "calls": {call.name: [call.tp, call.fp, call.fn, call.n] for call in self.calls},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Look:
        """Return the look that ``to_json`` wrote."""
        calls = tuple(FindingCalls(name, *counts) for name, counts in data["calls"].items())
        return cls(
            data["step"], data["values"], calls, data["score"], tuple(data["warn"]), tuple(data["stop"]), data["failed"]
        )


class Judge:
    """What is said of drafts of the sample: guards, held-out metrics, the reward, and which rules they break.

    Parameters
    ----------
    config
        What is looked at.
    reward
        The reward of the training.
    names, entries
        Held-out metrics and the one that policies are chosen by, ready for any batch.
    """

    def __init__(
        self,
        config: GuardConfig,
        reward: ReportReward,
        names: Sequence[str],
        entries: Mapping[str, metrics.MetricEntry],
    ) -> None:
        self.config = config
        self.reward = reward
        self.panel = tuple(names)
        self.entries = entries
        self.rules = rules.rules(config.rules)

    def look(
        self, step: int, drafts: Sequence[Draft], references: Sequence[Report], logged: Values, start: Look | None
    ) -> Look:
        """Return what is to be said of ``drafts`` at ``step``.

        Parameters
        ----------
        step
            Optimiser steps done.
        drafts, references
            One of each a study, in the same order.
        logged
            What the trainer logged last, by our names.
        start
            The look at the policy that training started from; None: this is it, and no rule ends the training.
        """
        reports = [draft.report for draft in drafts]
        found = guard(drafts, references)
        scored = [one.value for one in rewards.score_batch(drafts, references, self.reward.recipe, self.reward.entries)]
        known = [value for value in scored if value is not None]
        wanted = [*self.panel, *([self.config.keep] if self.config.keep not in ("reward", "last") else [])]
        scores = metrics.score(wanted, reports, references, entries=self.entries)
        corpus = {name: self.entries[name].aggregate(values) for name, values in scores.items()}
        values: dict[str, float | None] = {
            "reward": sum(known) / len(known) if known else None,
            "template_share": found.template_share,
            "duplicate_share": found.duplicate_share,
            "length_ratio": found.length_ratio,
            "length_off": rules.length_off(found.length_ratio),
            "unreadable": found.unreadable / found.n if found.n else None,
            "contradiction_share": found.contradiction_share,
            "over_calling": found.over_calling,
            "under_calling": found.under_calling,
            "abnormal_f1": found.abnormal_f1,
            **{f"panel/{name}": corpus[name] for name in self.panel},
            **logged,
        }
        before = start.values if start is not None else values
        then = start.calls if start is not None else found.calls
        values["worst_over_calling"] = rules.worst_rise(found.calls, then, "over")
        values["worst_under_calling"] = rules.worst_rise(found.calls, then, "under")
        values["panel_loss"] = rules.panel_loss(values, before, [self.entries[name].spec for name in self.panel])
        broken = rules.breaks(self.rules, values, before)
        stops = start is not None and self.config.act == "stop" and found.n >= FEWEST
        return Look(
            step,
            {name: None if value is None else round(value, 6) for name, value in values.items()},
            found.calls,
            self._score(values["reward"], corpus, step),
            broken["warn"] + (() if stops else broken["stop"]),
            broken["stop"] if stops else (),
        )

    def _score(self, reward: float | None, corpus: Mapping[str, float | None], step: int) -> float | None:
        if self.config.keep == "last":
            return float(step)
        if self.config.keep == "reward":
            return reward
        value = corpus[self.config.keep]
        lower = self.entries[self.config.keep].spec.better == "lower"
        return None if value is None else -value if lower else value


def best_of(looks: Mapping[int, Look]) -> Look:
    """Return the look with the best score among those that broke no rule, of equal ones the last.

    The start is taken only where there is no other: a sample is small, and by chance alone it would often win against a
    little training.
    """
    good = [look for step, look in looks.items() if step and not look.stop] or [looks[0]]
    return max(good, key=lambda look: (WORST if look.score is None else look.score, look.step))


class Guards(TrainerCallback):
    """The trainer's callback that looks, decides and remembers.

    Parameters
    ----------
    judge
        What looks are judged by.
    run
        Where they are written.
    stage
        Prefix of the events.
    studies
        The sample.
    style, processor
        How studies are shown to the policy; the processor that pads on the left.
    tokens
        Longest draft.
    """

    def __init__(
        self,
        judge: Judge,
        run: RunFolder,
        stage: str,
        studies: Sequence[Study],
        style: Style,
        processor: Any,
        tokens: int,
    ) -> None:
        self.judge = judge
        self.run = run
        self.stage = stage
        self.studies = list(studies)
        self.style = style
        self.processor = processor
        self.tokens = tokens
        self.trainer: Any = None
        """To be set once there is one."""
        self.looks = {
            one["step"]: Look.from_json(one) for one in run.events.read() if one["event"] == f"{stage}.{LOOK}"
        }

    @property
    def stopped(self) -> Look | None:
        """The look that ended the training, where one did."""
        return next((look for look in self.looks.values() if look.stop), None)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget what comes after the checkpoint that is continued from; look where a kill came before the look."""
        self.looks = {step: look for step, look in self.looks.items() if step <= state.global_step}
        if state.global_step == 0 and not (checkpoint(Path(args.output_dir), 0) / WHOLE).exists():
            self.trainer._save_checkpoint(self.trainer.model_wrapped, None)
            self.trainer.callback_handler.on_save(args, state, control)
        else:
            self._look_if_due(args, state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Let a look have its checkpoint."""
        if self._due(state):
            control.should_log = control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look."""
        self._look_if_due(args, state, control)

    def _due(self, state: Any) -> bool:
        return state.global_step % self.judge.config.every == 0 or state.global_step >= state.max_steps

    def _look_if_due(self, args: Any, state: Any, control: Any) -> None:
        if self._due(state) and not processes.agreed(state.global_step in self.looks):
            self._look(state)
        if not self.looks:
            return
        state.best_model_checkpoint = str(checkpoint(Path(args.output_dir), best_of(self.looks).step))
        if self.stopped is not None:
            control.should_training_stop = True

    def _look(self, state: Any) -> None:
        drafts = self._drafts()
        made: list[Any] = [None]
        if processes.main():
            made = [self._judged(state, drafts).to_json()]
        look = Look.from_json(processes.told(made)[0])
        last = max(self.looks, default=None)
        told = self.looks[last].warn if last is not None else ()
        self.looks[look.step] = look
        self.run.event(f"{self.stage}.{LOOK}", **look.to_json())
        if processes.main():
            new = [why for why in look.warn if _name(why) not in map(_name, told)]
            for why in look.stop or new:
                what = "training stops" if look.stop else "look into it"
                warnings.warn(f"step {look.step}: {why}; {what}.", GuardWarning, stacklevel=2)

    def _judged(self, state: Any, drafts: Mapping[int, Draft]) -> Look:
        places = sorted(drafts)
        references = [self.studies[place].report or Report() for place in places]
        start = self.looks.get(0)
        logged: dict[str, float | None] = {}
        for name, key in LOGGED.items():
            told = [entry[key] for entry in state.log_history if entry.get(key) is not None]
            logged[name] = told[-1] if told else None
            if start is not None and told:  # the start itself has no log; the first step is nearest to it
                start = Look(start.step, {**start.values, name: told[0]}, start.calls)
        look = self.judge.look(state.global_step, [drafts[place] for place in places], references, logged, start)
        return Look(**{**vars(look), "failed": len(self.studies) - len(places)})

    def _drafts(self) -> dict[int, Draft]:
        """Return place in the sample to greedy draft, of all processes; one whose generation failed is left out."""
        size = self.judge.config.batch
        starts = range(0, len(self.studies), size)
        sampling = Sampling(max_new_tokens=self.tokens, batch_size=size)
        made: dict[int, dict[str, Any]] = {}
        with _quiet(self.trainer) as model:
            writer = TransformersModel(model, self.processor, "policy")
            for first in range(0, len(starts), processes.count()):
                # Whole batches are dealt, so that what is padded, and so what is written, is as with one process; who
                # has none left repeats the last, since sharded weights need all.
                start = starts[min(first + processes.rank(), len(starts) - 1)]
                part = self.studies[start : start + size]
                written = writer.generate([self.style.render(study) for study in part], sampling)
                made |= {start + place: one.to_json() for place, one in enumerate(written)}
        generations = {
            place: Generation.from_json(one) for part in processes.gathered(made) for place, one in part.items()
        }
        return {place: self.style.parse(one) for place, one in generations.items() if one.stop != "error"}

    def restore(self, folder: Path) -> Look | None:
        """Put the best policy back into the trainer, note which it is, and return its look; None: nobody has looked."""
        if not self.looks:
            return None
        best, last, start = best_of(self.looks), max(self.looks), self.looks[0]
        if processes.main() and best.score is not None and start.score is not None and best.score < start.score:
            what = f"by {self.judge.config.keep} nothing was better than the start ({start.score:.4g}, now {best.score:.4g})"
            warnings.warn(f"{what}; compare both with `wetread evaluate`.", GuardWarning, stacklevel=2)
        if best.step != last:
            _load(self.trainer, checkpoint(folder, best.step))
        stopped = self.stopped
        self.run.event(
            f"{self.stage}.{KEPT}",
            step=best.step,
            score=best.score,
            start_score=start.score,
            last=last,
            last_score=self.looks[last].score,
            by=self.judge.config.keep,
            stopped="; ".join(stopped.stop) if stopped else "",
        )
        return best


def checkpoint(folder: Path, step: int) -> Path:
    """Return the folder of a step's checkpoint."""
    return folder / f"checkpoint-{step}"


def watch(
    config: RlConfig, run: RunFolder, stage: str, style: Style, reward: ReportReward, processor: Any
) -> Guards | None:
    """Return the guards of a training; None where they are off or there is nothing to look at, of which is warned.

    Raises
    ------
    UsageError
        A held-out metric is in the reward or not known.
    ConfigError
        What is to be kept is no metric.
    """
    given = config.guard
    if not given.every:
        return None
    panel = rules.panel(reward.recipe.metrics, given.panel)
    known = ["reward", "last", *metrics.METRICS]
    if given.keep not in known:
        raise ConfigError(f"guard.keep={given.keep!r} is no metric.{nearest(given.keep, known)} Or: reward, last.")
    sample = _sample(config)
    if not sample:
        text = f"guards are off: no study of split {given.split!r} has a report. Set guard.split, or guard.every=0."
        if processes.main():
            warnings.warn(text, GuardWarning, stacklevel=2)
        run.event(f"{stage}.guards", off=text)
        return None
    wanted = [*panel, *([given.keep] if given.keep in metrics.METRICS else [])]
    entries = metrics.bind(
        wanted,
        reward.references.values(),
        weights=config.scorers.weights or None,
        precision=config.scorers.precision or None,
    )
    run.event(f"{stage}.guards", studies=len(sample), panel=list(panel), keep=given.keep, every=given.every)
    judge = Judge(given, reward, panel, entries)
    return Guards(judge, run, stage, sample, style, processor, config.group.max_new_tokens)


def _sample(config: RlConfig) -> list[Study]:
    """Return studies of the split, drawn by the seed from all folders alike, in the order of the folders."""
    studies = [
        study
        for path in config.data.path
        for study in folder.read(path)
        if study.split == config.guard.split and study.split != config.data.split and study.report
    ]
    if len(studies) <= config.guard.studies:
        return studies
    drawn = np.random.default_rng([config.seed, 5]).choice(len(studies), config.guard.studies, replace=False)
    return [studies[place] for place in sorted(drawn.tolist())]


@contextmanager
def _quiet(trainer: Any) -> Any:
    """Lend the whole model for greedy generation, and leave it as it was: modes, and who draws its tokens."""
    import torch
    from trl.models import unwrap_model_for_generation

    lent = unwrap_model_for_generation(
        trainer.model_wrapped, trainer.accelerator, gather_deepspeed3_params=trainer.args.ds3_gather_for_generation
    )
    with lent as model, torch.no_grad(), trainer._dist.summon_full_params(trainer.model_wrapped, recurse=False):
        modes = [(part, part.training) for part in model.modules()]
        drawing = model.__dict__.pop("generate", None)
        model.eval()
        try:
            yield model
        finally:
            for part, mode in modes:
                part.training = mode
            if drawing is not None:
                model.generate = drawing


def _load(trainer: Any, folder: Path) -> None:
    if trainer.is_deepspeed_enabled:
        from transformers.integrations.deepspeed import deepspeed_load_checkpoint

        deepspeed_load_checkpoint(trainer.model_wrapped, str(folder), load_module_strict=False)
        return
    trainer._load_from_checkpoint(str(folder))


def _name(why: str) -> str:
    return why.split(" ", 1)[0]
