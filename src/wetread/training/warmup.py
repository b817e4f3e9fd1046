"""The tower's warm-up: it learns to see the labels that the knowledge file reads off the training reports.

Published systems start from an image encoder that has seen millions of pictures; the tiny policy has none, and learning
to see through the words of reports alone takes far longer than a laptop's patience. So its tower first learns to read off
an image which findings, sides, zones and grades the training report claims. Only reports are used, never the phantom's truth, so the same step runs on any data set with reports.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wetread.knowledge import extract
from wetread.metrics.findings import claims
from wetread.models.transformers import to_picture
from wetread.prompts import closer
from wetread.prompts.direct import frontal
from wetread.records import Finding, Study
from wetread.runs.store import RunFolder
from wetread.training import loop, processes
from wetread.training.config import SftConfig
from wetread.training.data import CACHE_BYTES
from wetread.training.sampling import Order

STAGE = "warmup"
RAREST = 20
"""Claims in fewer training reports than this are not learned; a handful cannot be told from chance."""
BATCH = 32
"""Samples of each step, whatever `optim.batch` is; the processes share them."""
RATE = 3e-3
RARE = -3.0
"""Logit that every label starts from: about one report in twenty."""


class Reader(nn.Module):
    """The tower with a loss on the first entries of its reading: (B, 3, S, S) to label logits (B, L).

    A finding's side, zone and grade are asked for only where the report has the finding; elsewhere they would all be
    "no" for the same reason, which teaches nothing and drowns the rest.
    """

    def __init__(self, tower: Any, names: Sequence[tuple[str, ...]]) -> None:
        super().__init__()
        self.tower = tower
        self.labels = len(names)
        self.owner = [names.index(("name", name[1])) for name in names]
        with torch.no_grad():
            tower.tell.bias[: self.labels] = RARE

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Return logits and, with ``labels`` (B, L) of 0 and 1, the loss: cross-entropy summed over what is asked for."""
        logits = self.tower(pixel_values).pooler_output[:, : self.labels]
        if labels is None:
            return {"logits": logits}
        each = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        own = torch.arange(self.labels, device=labels.device) == torch.tensor(self.owner, device=labels.device)
        asked = torch.where(own, 1.0, labels[:, self.owner])
        return {"loss": (each * asked).sum(dim=1).mean(), "logits": logits}


class Labelled(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Model-ready pixels and label vectors of studies; each image is decoded and processed once while memory lasts.

    With ``near`` every study comes twice as often as there are closer views: half the time whole, else as one of them, which
    has the labels of what may be seen in it: what the report places on the other side, or in another zone, is not there.
    """

    def __init__(self, studies: Sequence[Study], processor: Any, labels: Labels, *, near: bool = False) -> None:
        self.studies = studies
        self.processor = processor
        self.labels = labels
        self.each = 2 * len(closer.VIEWS) if near else 1
        self._kept: dict[tuple[int, int], Tensor] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.studies) * self.each

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        study, part = divmod(place, self.each)
        view = max(0, part - len(closer.VIEWS) + 1)  # 0: whole
        told = self.labels.near[study, view - 1] if view else self.labels.vectors[study]
        return {"pixel_values": self._pixels(study, view), "labels": told}

    def _pixels(self, place: int, view: int) -> Tensor:
        """Return (3, S, S) in half precision's values; of the three equal channels of a grey image one is kept.

        Rounded the first time too, so that a warm-up that was killed sees what it would have seen.
        """
        key = place, view
        kept = self._kept.get(key)
        if kept is None:
            image = frontal(self.studies[place])
            picture = to_picture((closer.views(image)[key[1] - 1] if key[1] else image).pixels())
            pixels: Tensor = self.processor.image_processor(picture, return_tensors="pt")["pixel_values"][0]
            kept = pixels[:1].half()
            if self._bytes < CACHE_BYTES:
                self._kept[key] = kept
                self._bytes += kept.nbytes
        return kept.float().expand(3, -1, -1)


@dataclass(frozen=True)
class Labels:
    """What the training reports claim, as the tower is taught it."""

    names: list[tuple[str, ...]]
    """The claims that are learned, sorted."""
    vectors: Tensor
    """Which study's report makes which claim, (N, L) of 0 and 1."""
    near: Tensor = field(default_factory=lambda: torch.empty(0))
    """The same of what each closer view may show, (N, views, L); empty where nobody asked for it."""

    @classmethod
    def read(cls, studies: Sequence[Study], rarest: int = RAREST, most: int = 1_000, *, near: bool = False) -> Labels:
        """Return the claims of at least ``rarest`` reports, the ``most`` frequent.

        Claims of change are left out: one image cannot show them.
        """
        told = [extract(study.report) if study.report else () for study in studies]
        made = [_lasting(claims(findings)) for findings in told]
        counts = Counter(claim for one in made for claim in one)
        frequent = [
            claim for claim, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])) if count >= rarest
        ]
        kept = set(frequent[:most])
        names = sorted(claim for claim in kept if ("name", claim[1]) in kept)
        vectors = torch.tensor([[float(name in one) for name in names] for one in made])
        made_near = torch.empty(0)
        if near:
            parts = [
                [_lasting(claims(_shown(findings, study, view))) for view in closer.VIEWS]
                for findings, study in zip(told, studies, strict=True)
            ]
            flat = torch.tensor([[[float(name in one) for name in names] for one in several] for several in parts])
            made_near = flat.reshape(len(studies), len(closer.VIEWS), len(names))
        return cls(names, vectors.reshape(len(studies), len(names)), made_near)

    def layout(self) -> list[list[int]]:
        """Return the tower's slots: a row a finding, its name first, then every attribute that any finding has; -1: none.

        >>> Labels([("name", "mass"), ("name", "oedema"), ("side", "mass", "left")], torch.empty(0, 3)).layout()
        [[0, 2], [1, -1]]
        """
        place = {name: i for i, name in enumerate(self.names)}
        findings = sorted(name[1] for name in self.names if name[0] == "name")
        attributes = sorted({(name[0], name[2]) for name in self.names if len(name) > 2})
        return [
            [place["name", finding], *(place.get((kind, finding, value), -1) for kind, value in attributes)]
            for finding in findings
        ]


def _lasting(found: Iterable[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Return the claims that one image can show."""
    return {one for one in found if one[0] != "change"}


def _shown(findings: Sequence[Finding], study: Study, view: str) -> list[Finding]:
    """Return what a closer view may show; of a lateral film, whose sides lie over each other, everything."""
    if frontal(study).view == "lateral":
        return list(findings)
    return [one for one in findings if closer.shows(view, one.side, one.location)]


def check_batch() -> None:
    """Refuse a number of processes that cannot share the warm-up's batch evenly (``ConfigError``)."""
    processes.share(BATCH, "the warm-up's batch")


def warm_up(
    tower: Any,
    processor: Any,
    studies: Sequence[Study],
    labels: Labels,
    config: SftConfig,
    run: RunFolder,
    on_step: loop.Step | None,
) -> None:
    """Train ``tower`` in place, or load what an earlier, finished warm-up of this run left; then freeze its statistics."""
    from safetensors.torch import load_file, save_file

    kept = run.path / "warmup.safetensors"
    if not loop.done(run, f"{STAGE}.done"):
        learner = copy.deepcopy(tower)  # what wraps it in training, hooks and all, goes with the copy
        near = config.inputs.closer not in (None, "none")
        data = Labelled(studies, processor, labels, near=near)
        _train(learner, data, labels.names, config, run, on_step)

        def save() -> None:
            part = kept.with_suffix(".part")
            save_file({name: value.cpu().contiguous() for name, value in learner.state_dict().items()}, part)
            part.replace(kept)

        loop.finish(run, STAGE, save, steps=config.tiny.warmup_steps)
    tower.load_state_dict(load_file(kept))
    tower.freeze_statistics()


def _train(
    tower: Any,
    data: Labelled,
    names: Sequence[tuple[str, ...]],
    config: SftConfig,
    run: RunFolder,
    on_step: loop.Step | None,
) -> None:
    from transformers import Trainer, TrainingArguments

    reader = Reader(tower, names)
    if not run.done(f"{STAGE}.labels"):
        run.event(f"{STAGE}.labels", labels=[" ".join(name) for name in names])
    folder = Path(run.path / "warmup-checkpoints")
    optim = replace(
        config.optim,
        steps=config.tiny.warmup_steps,
        batch=BATCH,
        micro_batch=0,
        rate=RATE,
        warmup=0.03,
        decay=0.02,
        schedule="linear",
        beta2=0.98,
        clip=0.0,  # a sum over labels has large, harmless gradients
    )
    trainer = Trainer(
        model=reader,
        args=TrainingArguments(**loop.common_arguments(folder, optim, every=config.checkpoint_every, seed=config.seed)),
        train_dataset=data,
        callbacks=[loop.Recorder(run, STAGE, on_step)],
    )
    loop.run_trainer(trainer, run, folder, Order(len(data), BATCH, optim.steps, config.seed))
