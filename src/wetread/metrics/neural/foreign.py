"""Encoders whose architecture only transformers has here (DeBERTa, ModernBERT), run so that no text hangs on another.

Linear layers are replaced by ``products.dense``. Texts share a batch only when their lengths round up to the same multiple of
``products.STEP`` and either all or none of them are padded, because transformers leaves a mask out that hides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wetread.metrics.neural.products import stepped, with_dense

TOKENS = {"cpu": 1_536, "cuda": 65_536}
"""Tokens that are read at once, padding included: on a CPU few, so that what is computed stays in its cache."""


class Foreign:
    """One such encoder.

    Parameters
    ----------
    network
        A transformers model without a head, with its weights; it is changed.
    pad
        Token id that fills up a text; it is masked.
    device, dtype
        Where and how it computes: ``torch.float32`` or ``torch.bfloat16``.
    """

    def __init__(self, network: Any, pad: int, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.device = device
        self.pad = pad
        self._network = with_dense(network.to(device, dtype).eval().requires_grad_(False))
        self._width = int(network.config.hidden_size)

    @torch.inference_mode()
    def tokens(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Return the last layer's vectors of all tokens, one text after another, float32 on the device, (tokens, hidden)."""
        lengths = np.array([len(ids) for ids in texts], dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        found = torch.empty(int(lengths.sum()), self._width, device=self.device)
        alike: dict[tuple[int, bool], list[int]] = {}
        for number, length in enumerate(lengths.tolist()):
            width = stepped(length)
            alike.setdefault((width, width == length), []).append(number)
        for (width, _), numbers in alike.items():
            step = max(1, TOKENS[self.device.type] // width)
            for at in range(0, len(numbers), step):
                some = numbers[at : at + step]
                there = np.arange(width) < lengths[some, None]
                ids = np.full(there.shape, self.pad, dtype=np.int64)
                ids[there] = np.concatenate([np.asarray(texts[number], dtype=np.int64) for number in some])
                rows = (starts[some, None] + np.arange(width))[there]
                seen, given, where = (torch.from_numpy(one).to(self.device) for one in (there, ids, rows))
                hidden = self._network(input_ids=given, attention_mask=seen.long()).last_hidden_state
                found[where] = hidden[seen].float()
        return found
