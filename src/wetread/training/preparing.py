"""Images prepared once: an image processor that remembers what it made of a picture.

A trainer's collator resizes, scales and cuts up the same picture in every epoch, and in GRPO once for each rollout, twice.
Here a picture, known by its pixels, is prepared once while memory lasts. The first batch is also prepared as a whole; a
processor whose batches are not its single results laid one after the other is left as it is.
"""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from transformers import BatchFeature

from wetread.training.data import CACHE_BYTES


def with_memory(processor: Any, limit: int = CACHE_BYTES) -> Any:
    """Return a copy of ``processor`` whose image processor remembers up to ``limit`` bytes; it saves as the original does."""
    out = copy.copy(processor)
    out.image_processor = Prepared(processor.image_processor, limit)
    return out


class Prepared:
    """``plain``, an image processor of transformers, with a memory; everything but calling it is left to ``plain``."""

    def __init__(self, plain: Any, limit: int = CACHE_BYTES) -> None:
        self.plain = plain
        self.limit = limit
        self.bytes = 0
        self.stackable: bool | None = None
        """Whether batches are single results laid one after the other; None until a batch has shown it."""
        self._kept: OrderedDict[Any, Mapping[str, Any]] = OrderedDict()

    def __getattr__(self, name: str) -> Any:
        if name == "plain":  # while a copy is being made
            raise AttributeError(name)
        return getattr(self.plain, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self.plain, memo)  # saving a processor copies it, and must not find a memory in it

    def __call__(self, images: Any, *args: Any, **options: Any) -> Any:
        """Return what ``plain`` returns for ``images``: a list with a picture, or the pictures, of each sample."""
        keys = None if args or self.stackable is False else _keys(images, options)
        if keys is None:
            return self.plain(images, *args, **options)
        made: dict[Any, Mapping[str, Any]] = {}
        for key, unit in zip(keys, images, strict=True):
            if key not in made:
                made[key] = self._one(key, unit, options)
        stacked = _stack([made[key] for key in keys])
        if stacked is None or (self.stackable is None and len(made) > 1):
            whole = self.plain(images, **options)
            if stacked is not None:
                self.stackable = _same(stacked, whole)
            return whole
        return BatchFeature(stacked)

    def _one(self, key: Any, unit: Any, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what was made of a unit, now or before."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made: Mapping[str, Any] = self.plain([unit], **options)
        self._kept[key] = made
        self.bytes += _bytes(made)
        while self.bytes > self.limit and len(self._kept) > 1:
            self.bytes -= _bytes(self._kept.popitem(last=False)[1])
        return made


def digest(picture: Any) -> tuple[Any, ...]:
    """Return what a ``PIL.Image`` is known by: mode, size and a hash of its pixels."""
    return picture.mode, picture.size, hashlib.blake2b(picture.tobytes(), digest_size=16).digest()


def _keys(images: Any, options: Mapping[str, Any]) -> list[Any] | None:
    """Return what each unit is known by: its pictures and how they are asked for; None where it is no picture."""
    if not isinstance(images, list | tuple) or not images:
        return None
    known: dict[int, Any] = {}
    asked = repr(sorted(options.items(), key=lambda item: item[0]))
    out = []
    for unit in images:
        pictures = unit if isinstance(unit, list | tuple) else [unit]
        if not pictures or not all(isinstance(picture, Image) for picture in pictures):
            return None
        for picture in pictures:
            if id(picture) not in known:
                known[id(picture)] = digest(picture)
        out.append((asked, pictures is unit, *(known[id(picture)] for picture in pictures)))
    return out


def _stack(made: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return single results as a batch; None where they do not fit one after the other."""
    out: dict[str, Any] = {}
    for key in made[0]:
        values: list[Any] = [one.get(key) for one in made]
        kind = type(values[0])
        if any(type(value) is not kind for value in values):
            return None
        if kind is list:
            out[key] = [entry for value in values for entry in value]
        elif kind in (torch.Tensor, np.ndarray) and len({value.shape[1:] for value in values if value.ndim}) == 1:
            out[key] = torch.cat(values) if kind is torch.Tensor else np.concatenate(values)
        else:
            return None
    return out


def _same(one: Any, other: Any) -> bool:
    """Whether two results hold the same values in the same shapes."""
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other)
    return bool(one == other)


def _bytes(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    return int(getattr(value, "nbytes", 8))
