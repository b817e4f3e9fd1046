"""The tiny policy's image encoder: a small residual network with the face of a transformers vision tower.

A vision transformer of this size sees next to nothing after ten minutes on a CPU; a residual network with batch
normalisation does (docs/results/tiny_tower.md). Importing this module registers it, so that a saved policy opens with
transformers' Auto classes.

Architecture after He et al., Deep Residual Learning (arXiv 1512.03385), in miniature.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

STRIDE = 32
"""Pixels a side of the region that one feature stands for."""
SUMMARY = 1
"""Features before those of the regions: what the tower reads off the whole image."""


class TowerConfig(PretrainedConfig):
    """Shape of the tower.

    ``hidden_size`` is the width of its output, ``image_size`` the side of its square input in pixels. While
    ``frozen_statistics`` is false, training mode uses the statistics of the batch; afterwards always the learned ones, so
    that a draft never depends on its neighbours.
    """

    model_type = "wetread_tower"

    image_size: int = 128
    patch_size: int = STRIDE
    num_channels: int = 3
    hidden_size: int = 160
    frozen_statistics: bool = False


class Residual(nn.Module):
    """Two 3 x 3 convolutions around a shortcut; (B, C, H, W) to (B, width, H / 2, W / 2)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, 2, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        self.shortcut = nn.Conv2d(channels, width, 1, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        inner = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.shortcut(x) + self.second_norm(self.second(inner)))


class Tower(PreTrainedModel):
    """Images (B, 3, S, S) to features (B, 1 + (S / 32)², hidden_size): one of the whole image, then one a region.

    Each place on the finest grid (S / 16 a side) knows where it is by a learned embedding. A region's feature is the
    greatest over its four places. The first feature is a reading: the greatest over all places, since a finding is
    somewhere and not everywhere, through a linear layer to logits and on to -1 … 1. A warm-up gives each of its first
    entries a meaning (``wetread.training.warmup``); ``pooler_output`` holds the logits (B, hidden_size).
    """

    config_class = TowerConfig
    base_model_prefix = "tower"
    main_input_name = "pixel_values"
    input_modalities = "image"

    def __init__(self, config: TowerConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        first, second, third = 3 * width // 20, 3 * width // 10, 3 * width // 5
        self.stem = nn.Conv2d(1, first, 3, 2, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(first)
        self.blocks = nn.Sequential(Residual(first, second), Residual(second, third), Residual(third, width))
        side = config.image_size // 16
        self.place = nn.Parameter(torch.zeros(1, width, side, side))
        self.look = nn.Conv2d(width, width, 1)
        self.tell = nn.Linear(width, width)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise as torch does, which these few layers learn from much faster than from other schemes (bench/tower.py).

        Only transformers' own init functions are used: they leave alone what a checkpoint has filled.
        """
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d | nn.Linear):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, Tower):
            init.zeros_(module.place)

    def train(self, mode: bool = True) -> Tower:
        """Switch modes; learned statistics stay in use once they are frozen."""
        super().train(mode)
        if self.config.frozen_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def freeze_statistics(self) -> None:
        """Use the learned statistics from now on, in training mode too."""
        self.config.frozen_statistics = True
        self.train(self.training)

    def forward(self, pixel_values: Tensor, **options: Any) -> BaseModelOutputWithPooling:
        """Return features as the only hidden state; the three equal channels of a grey image are read once."""
        x = torch.relu(self.stem_norm(self.stem(pixel_values[:, :1])))
        x = x.contiguous(memory_format=torch.channels_last)  # a third faster on a CPU
        signs = torch.relu(self.look(self.blocks(x) + self.place))  # (B, C, S / 16, S / 16)
        regions = nn.functional.max_pool2d(signs, 2).flatten(2)  # (B, C, (S / 32)²)
        logits = self.tell(regions.amax(dim=2))
        features = torch.cat([torch.tanh(logits / 2)[:, None], regions.transpose(1, 2)], dim=1)
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=logits, hidden_states=(features,))


AutoConfig.register(TowerConfig.model_type, TowerConfig, exist_ok=True)
AutoModel.register(TowerConfig, Tower, exist_ok=True)
