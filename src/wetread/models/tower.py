"""The tiny policy's image encoder: a small residual network with the face of a transformers vision tower.

A vision transformer of this size sees next to nothing after ten minutes on a CPU; a residual network with batch
normalisation does (bench/tower.py shows both). Importing this module registers it, so that a saved policy opens with
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
"""Pixels a side of the region that one feature stands for, where the tower has no slots."""


class TowerConfig(PretrainedConfig):
    """Shape of the tower.

    ``hidden_size`` is the width of its output, ``image_size`` the side of its square input in pixels. ``slots`` says which
    reading means what: a row a finding, a column an attribute, in each the place of its logit or -1. While
    ``frozen_statistics`` is false, training mode uses the statistics of the batch; afterwards always the learned ones, so
    that a draft never depends on its neighbours.
    """

    model_type = "wetread_tower"

    image_size: int = 128
    patch_size: int = STRIDE
    num_channels: int = 3
    hidden_size: int = 160
    frozen_statistics: bool = False
    slots: list[list[int]] | None = None


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
    """Images (B, 3, S, S) to features (B, T, hidden_size).

    Each place on the finest grid (S / 16 a side) knows where it is by a learned embedding. The greatest sign over all
    places, since a finding is somewhere and not everywhere, goes through a linear layer to logits (B, hidden_size), the
    ``pooler_output``. A warm-up gives the first of them their meaning (``wetread.training.warmup``).

    With slots the features are what was read: one a finding (T findings), which holds which finding it is and what the
    logits say of it and its attributes, each -1 … 1. The language model is thus given a perception, not pixels, and what it
    was given can be shown. Without slots they are one a region of 32 pixels a side, and one of the whole image before them.
    """

    config_class = TowerConfig
    base_model_prefix = "tower"
    main_input_name = "pixel_values"
    input_modalities = "image"
    _supports_sdpa = True  # there is no attention in it: whatever the language model asks for suits it
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

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
        read = torch.tanh(logits / 2)
        if self.config.slots:
            features = self._by_finding(read)
        else:
            features = torch.cat([read[:, None], regions.transpose(1, 2)], dim=1)
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=logits, hidden_states=(features,))

    def _by_finding(self, read: Tensor) -> Tensor:
        """Return readings (B, hidden_size) as features (B, findings, hidden_size): which finding, then its attributes."""
        rows, width = read.shape
        slots = torch.tensor(self.config.slots, device=read.device)
        said = nn.functional.pad(read, (0, 1))[:, torch.where(slots < 0, width, slots)]  # (B, findings, attributes)
        which = torch.eye(len(slots), dtype=read.dtype, device=read.device).expand(rows, -1, -1)
        features = torch.cat([which, said], dim=2)
        return nn.functional.pad(features, (0, width - features.shape[2]))


AutoConfig.register(TowerConfig.model_type, TowerConfig, exist_ok=True)
AutoModel.register(TowerConfig, Tower, exist_ok=True)
