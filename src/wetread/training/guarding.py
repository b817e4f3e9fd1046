"""Looks at the policy while it is trained: what it drafts for studies that it is not trained on, judged by more than its reward.

What a look says is in ``looks``; here is when it is taken, by whom, and what follows from it.

At the start, every so many steps and at the end the same studies are drafted, greedily. Guards, held-out metrics and the
trainer's own log are held against the start (``rewards.rules``); a look that breaks a rule warns, or ends the training. Every
look has a checkpoint, and the policy that becomes the model is the best of those that broke nothing, not the last.

All that is remembered are the events of the looks in the run folder, so a training that is killed and continued decides as
it would have. With several processes each drafts a part, the first judges, and all obey.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from wetread import metrics, rewards
from wetread.errors import ConfigError, GuardWarning, nearest
from wetread.models.transformers import TransformersModel
from wetread.prompts import Style
from wetread.records import Draft, Generation, Report, Sampling, Study
from wetread.rewards import rules
from wetread.runs import passes
from wetread.runs.store import RunFolder
from wetread.studies import priors
from wetread.training import processes
from wetread.training.config import GuardConfig, RlConfig, SftConfig
from wetread.training.data import marks
from wetread.training.looks import Judge, Look, Paid, best_of
from wetread.training.loop import WHOLE, same_data

LOOK, KEPT = "look", "kept"
LOGGED = {"entropy": "entropy", "kl": "kl", "unscored": "guard/unscored"}
"""What comes from the trainer's log, by its name there."""


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
        for name, key in LOGGED.items() if self.judge.reward else ():  # what SFT logs is of other texts than rollouts
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
                asked = [self.style.render(study) for study in part]
                written = passes.generate(writer, self.style, asked, sampling, self._rounds())
                made |= {start + place: one.to_json() for place, one in enumerate(written)}
        generations = {
            place: Generation.from_json(one) for part in processes.gathered(made) for place, one in part.items()
        }
        return {
            place: passes.read(self.style, one)
            for place, one in generations.items()
            if one.stop != "error" or one.earlier
        }

    def _rounds(self) -> int:
        """Return how often a draft may be corrected: not where processes hold the weights in parts, since all must write alike."""
        sharded = self.trainer.is_deepspeed_enabled or self.trainer.is_fsdp_enabled
        return 0 if sharded else passes.ROUNDS

    def restore(self, folder: Path) -> Look | None:
        """Put the best policy back into the trainer, note which it is, and return its look; None: nobody has looked."""
        if not self.looks:
            return None
        best, last, start = best_of(self.looks), max(self.looks), self.looks[0]
        if processes.main() and best.step == 0 < last:
            what = f"by {self.judge.config.keep} nothing was better than the start"
            warnings.warn(f"{what}, which is therefore kept.", GuardWarning, stacklevel=2)
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
    config: RlConfig | SftConfig,
    run: RunFolder,
    stage: str,
    style: Style,
    processor: Any,
    references: Iterable[Report],
    reward: Paid | None = None,
) -> Guards | None:
    """Return the guards of a training; None where they are off or there is nothing to look at, of which is warned.

    Parameters
    ----------
    config, run, stage
        The training.
    style, processor
        How studies are shown to the policy.
    references
        The training's, on which metrics that need a corpus are frozen.
    reward
        What it is paid by; None: it is no reinforcement learning.

    Raises
    ------
    UsageError
        A held-out metric is in the reward or not known.
    ConfigError
        What is to be kept is neither metric nor reward.
    RunError
        The run was begun with other studies to be looked at.
    """
    given = config.guard
    if not given.every:
        return None
    panel = check(given, reward.recipe if reward else None)
    sample = _sample(config)
    if not sample:
        text = f"guards are off: {_nothing(config)}. Set guard.split, or guard.every=0."
        if processes.main():
            warnings.warn(text, GuardWarning, stacklevel=2)
        run.event(f"{stage}.guards", off=text)
        return None
    held = list(references)
    scorers = config.scorers if isinstance(config, RlConfig) else None
    entries = metrics.bind(
        [*panel, *([given.keep] if given.keep in metrics.METRICS else [])],
        held,
        weights=(scorers.weights if scorers else "") or None,
        precision=(scorers.precision if scorers else "") or None,
    )
    by = rewards.get(given.keep) if given.keep in rewards.RECIPES else None
    held_by = {f"{part} of guard.split": mark for part, mark in marks(sample).items()}
    same_data(run, f"{stage}.guards", held_by)
    run.event(
        f"{stage}.guards",
        studies=len(sample),
        panel=list(panel),
        keep=given.keep,
        every=given.every,
        digests=held_by,
    )
    judge = Judge(given, reward, panel, entries, Paid(by, rewards.bind(by, held)) if by else None)
    tokens = given.max_new_tokens or (config.group.max_new_tokens if isinstance(config, RlConfig) else style.longest)
    return Guards(judge, run, stage, sample, style, copy.deepcopy(processor), tokens)


def check(given: GuardConfig, reward: rewards.RewardRecipe | None) -> tuple[str, ...]:
    """Return the held-out metrics; errors as ``watch``, without reading any data."""
    panel = rules.panel(reward.metrics if reward else (), given.panel)
    rules.check(given.rules, panel)
    known = [*(["reward"] if reward else []), "last", *metrics.METRICS, *rewards.RECIPES]
    if given.keep not in known:
        ready = ", ".join(known[: known.index("last") + 1])
        raise ConfigError(
            f"guard.keep={given.keep!r} is neither a metric nor a ready reward.{nearest(given.keep, known)} Or: {ready}."
        )
    return panel


def check_split(config: RlConfig | SftConfig, reported: Mapping[str, int]) -> int:
    """Return how many studies there are to be looked at; ``reported``: split to how many of its studies have a report.

    Raises
    ------
    ConfigError
        There are none, and the training would go unwatched.
    """
    split = config.guard.split
    there = 0 if split == config.data.split else reported.get(split, 0)
    if not there:
        others = ", ".join(sorted(name for name in reported if name not in ("", config.data.split))) or "none"
        raise ConfigError(
            f"{_nothing(config)}. Set guard.split to another split that has reports ({others}), or guard.every=0 to train "
            "unwatched."
        )
    return there


def _nothing(config: RlConfig | SftConfig) -> str:
    split = config.guard.split
    if split == config.data.split:
        return f"guard.split={split!r} is trained on, and says nothing of other studies"
    return f"no study of split {split!r} has a report (guard.split)"


def words(kept: Look | None, given: GuardConfig) -> str:
    """Return which policy was kept, for the model card; empty where nobody has looked."""
    return f"; kept: step {kept.step}, best of validation by {given.keep}" if kept is not None else ""


def _sample(config: RlConfig | SftConfig) -> list[Study]:
    """Return studies of the split, drawn by the seed from all folders alike, in the order of the folders."""
    studies = [
        study
        for part in priors.read(config.data.path, config.data.priors)[0]
        for study in part
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
    from trl.trainer.grpo_trainer import DistributedBackend  # which GRPO's trainer has and SFT's has not

    gather = getattr(trainer.args, "ds3_gather_for_generation", True)
    lent = unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator, gather_deepspeed3_params=gather)
    backend = DistributedBackend(trainer.accelerator)
    with lent as model, torch.no_grad(), backend.summon_full_params(trainer.model_wrapped, recurse=False):
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
    # Sharded weights are restored into what shards them, as the trainer does it when it resumes.
    trainer._load_from_checkpoint(str(folder), trainer.model_wrapped if trainer.is_fsdp_enabled else None)


def _name(why: str) -> str:
    return why.split(" ", 1)[0]
