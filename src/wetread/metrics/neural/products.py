"""Matrix products whose rows do not hang on their neighbours: what all networks here are computed with.

The libraries behind torch choose how to add up a row by the number of rows, of threads and by where a row lies in memory, so
that the last bits of a text's features would differ with the texts beside it. Here

- linear layers on a CPU go through oneDNN, whose rows are the same bits in any number from two on, in any place and on any
  number of threads; it also uses all the vector units of processors on which the other library does not;
- where a build of torch has no oneDNN, rows come in multiples that give every thread enough of them (``padded``);
- lengths of texts are rounded up to a multiple of ``STEP`` by the text's own length alone (``stepped``), so that attention
  computes a text in the same shape, in equally aligned memory, in any batch.

On a GPU nothing of this is promised: batches are larger and the same text may differ in its last bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from wetread.metrics.weights import Precision

STEP = 16
"""Tokens in multiples of which attention sees a text; 16 numbers of four bytes fill what a processor loads at once."""
ROWS = 32
"""Rows in multiples of which linear layers are given tokens, words and spans."""
_DTYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def dtype_of(precision: Precision) -> torch.dtype:
    """Return what torch calls a precision."""
    return _DTYPES[precision]


def best_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def stepped(length: int) -> int:
    """Return the next multiple of ``STEP``."""
    return -(-length // STEP) * STEP


def padded(rows: int, device: torch.device) -> int:
    """Return how many rows linear layers should be given in place of ``rows``; the further ones hold anything finite."""
    if device.type != "cpu":
        return rows
    step = ROWS if _has_onednn(torch.float32) else max(ROWS, 8 * torch.get_num_threads())
    return max(1, -(-rows // step)) * step


def filled(rows: Tensor) -> Tensor:
    """Return the rows, shape (n, k), with as many of zeros behind them as ``padded`` says."""
    return functional.pad(rows, (0, 0, 0, padded(len(rows), rows.device) - len(rows)))


def dense(rows: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    """Return ``rows @ weight.T + bias``, through a GELU (with erf) if ``gelu``.

    Parameters
    ----------
    rows
        Shape (…, in), two rows or more; see ``padded``.
    weight, bias
        Shapes (out, in) and (out), of the same dtype as the rows.
    """
    if rows.device.type == "cpu" and _has_onednn(rows.dtype):
        kind = "gelu" if gelu else "none"
        found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, kind, [], "none")
        return found
    found = functional.linear(rows, weight, bias)
    return functional.gelu(found) if gelu else found


class Dense(torch.nn.Module):
    """A linear layer that computes with ``dense``."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, rows: Tensor) -> Tensor:
        """Return ``dense`` of the rows."""
        return dense(rows, self.weight, self.bias)


def with_dense(network: Any) -> Any:
    """Put ``Dense`` in place of each linear layer of a network of another library, and return the network."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear:
                setattr(parent, name, Dense(child))
    return network


def _has_onednn(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
