"""Why the tiny policy has a residual tower: it against a vision transformer, labels read off phantom reports.

    python bench/tower.py [--seconds 60] [--seed 0]

Both get the same studies, the same seconds of training (not the same steps: what counts on a laptop is time) and the same
readout; printed is the micro F1 of present findings on the validation split at the best of four thresholds.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from wetread.models.tower import Tower, TowerConfig
from wetread.studies import folder, phantom
from wetread.training.warmup import Labels


class Vit(nn.Module):
    """A SigLIP tower of four layers on patches of 16 pixels, greatest over places, linear readout."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        config = SiglipVisionConfig(
            hidden_size=192, intermediate_size=576, num_hidden_layers=4, num_attention_heads=3, image_size=128,
            patch_size=16, vision_use_head=False,
        )  # fmt: skip
        self.tower = SiglipVisionModel(config)
        self.tell = nn.Linear(192, labels)

    def forward(self, pixels: Any) -> Any:
        """Return logits."""
        return self.tell(self.tower(pixels).last_hidden_state.amax(dim=1))


class Residual(nn.Module):
    """The tiny policy's tower with its own reading."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.tower = Tower(TowerConfig())
        self.labels = labels

    def forward(self, pixels: Any) -> Any:
        """Return logits."""
        return self.tower(pixels).pooler_output[:, : self.labels]


def main() -> None:
    """Train both and print what they see."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--studies", type=int, default=9000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as path:
        phantom.write(Path(path), given.studies, seed=given.seed)
        studies = folder.read(Path(path))
        sets = {split: [s for s in studies if s.split == split] for split in ("train", "val")}
        pixels = {
            split: torch.stack([torch.from_numpy(s.images[0].pixels()) for s in part])[:, None]
            for split, part in sets.items()
        }
    labels = Labels.read(sets["train"] + sets["val"])
    names, vectors = labels.names, labels.vectors
    count = len(sets["train"])
    targets = {"train": vectors[:count], "val": vectors[count:]}
    findings = [i for i, name in enumerate(names) if name[0] == "name"]
    print(
        f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads, {time.strftime('%Y-%m-%d')}, seed {given.seed}, phantom data"
    )
    for name, model, rate in (
        ("vision transformer", Vit(len(names)), 1e-3),
        ("residual tower", Residual(len(names)), 3e-3),
    ):
        torch.manual_seed(given.seed)
        steps = _train(model, pixels["train"], targets["train"], rate, given.seconds)
        score = _f1(model, pixels["val"], targets["val"], findings)
        size = sum(p.numel() for p in model.parameters()) / 1e6
        print(
            f"{name}: {size:.2f} M parameters, {steps} steps of 32 in {given.seconds:.0f} s, finding F1 (micro) {score:.3f} on {len(sets['val'])} studies"
        )


def _ready(pixels: Any) -> Any:
    return ((pixels - 0.5) / 0.25).expand(-1, 3, -1, -1)


def _train(model: Any, pixels: Any, targets: Any, rate: float, seconds: float) -> int:
    optimiser = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.02)
    start, steps = time.monotonic(), 0
    while (passed := (time.monotonic() - start) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (steps + 1) / 30) * max(0.02, 1 - passed)
        chosen = torch.randint(len(pixels), (32,))
        loss = (
            nn.functional.binary_cross_entropy_with_logits(
                model(_ready(pixels[chosen])), targets[chosen], reduction="none"
            )
            .sum(1)
            .mean()
        )
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        steps += 1
    return steps


def _f1(model: Any, pixels: Any, targets: Any, findings: list[int]) -> float:
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(_ready(pixels[i : i + 128])) for i in range(0, len(pixels), 128)])
    called, true = logits[:, findings].sigmoid(), targets[:, findings]
    return max(float(2 * ((called > t) * true).sum() / ((called > t).sum() + true.sum())) for t in (0.2, 0.3, 0.4, 0.5))


if __name__ == "__main__":
    main()
