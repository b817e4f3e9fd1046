"""Each image is encoded once, not once per rollout.

In GRPO a group of rollouts shares its image, and TRL hands the same pixels to the model once for each of them. Here the
image encoder sees every distinct image once; its features are then repeated. Values and gradients are those of the plain
path up to the order of float additions. It serves any model with ``get_image_features``, whatever its layout of pixels:
one image a row (LLaVA, PaliGemma, InternVL's tiles), one image of several tiles a row (LLaVA-NeXT), the images of a sample
a row (Idefics3, SmolVLM), or patches of all images in one table beside their grids (Qwen-VL).

That holds within a call. Of a frozen encoder what it made is also kept between calls (``wetread.training.features``).
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wetread.training.features import Features, ImageFeatures, TowerStates
from wetread.training.loop import TOWERS

log = logging.getLogger(__name__)

GRID = "image_grid_thw"
"""Name of the argument that says how many patches an image has: (images, 3)."""
_PROBE = 64
"""Values of a part that are looked at before it is compared whole."""


def share_images(model: Any, memory: Features | None = None) -> bool:
    """Let ``model`` encode equal images once; return whether it is of a kind that can.

    A layout that is not understood, or whose features cannot be told apart by image, is encoded as before; the log says so.

    Parameters
    ----------
    model
        A transformers model, or an adapter's wrapper around one.
    memory
        Where features are kept between calls while the encoder is frozen, as a whole or its tower alone. Models whose
        encoders have equal weights find each other's there. Not for weights that processes hold in parts: those must make
        the same calls in all of them.
    """
    inner = bare(model).base_model
    if not hasattr(inner, "get_image_features"):
        return False
    if getattr(inner, "_shares_images", False):
        return True
    original = inner.get_image_features
    signature = inspect.signature(original)
    told: set[str] = set()
    keeper = ImageFeatures(inner, memory) if memory is not None else None

    @functools.wraps(original)
    def shared(*args: Any, **options: Any) -> Any:
        given = _named(signature, args, options)
        units = images_of(given)
        if units is None or (len(units) < 2 and keeper is None):
            return original(*args, **options)
        first, which = distinct(units)
        if keeper is not None:
            one = lambda place: _chosen(given, [first[place]])  # noqa: E731
            kept = keeper.recall(given, [units[place] for place in first], one, original)
            if kept is not None and _repeat(kept, which, len(first)):
                return kept
        if len(first) == len(units):
            return original(*args, **options)
        out = original(**_chosen(given, first))
        if _repeat(out, which, len(first)):
            return out
        if "features" not in told:
            told.add("features")
            log.warning("%s returns features that are not one entry an image; not shared", type(inner).__name__)
        return original(*args, **options)

    inner.get_image_features = shared
    inner._shares_images = True
    if keeper is not None:
        _remember_tower(inner, keeper)
    return True


def keep_features(trainer: Any, images: int, samples: int) -> None:
    """Let the model of a trainer that learns from ``samples`` samples of at least ``images`` images keep frozen features.

    Nothing is changed where images do not come twice, since encoding them one by one costs more than encoding a batch; or
    where processes hold the weights in parts.
    """
    if samples >= 2 * images and not (trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled):
        share_images(trainer.model, Features(expected=images))


def _remember_tower(inner: Any, whole: ImageFeatures) -> None:
    """Let the image tower of ``inner`` keep its states wherever ``whole``, the encoder that it is a part of, keeps nothing.

    Where it does, the tower only looks whether a model with the same tower and a trained projector has left them there.
    """
    tower = next((child for name, child in inner.named_children() if name in TOWERS), None)
    if tower is None:
        return
    plain = tower.forward
    signature = inspect.signature(plain)
    keeper = TowerStates(tower, whole.memory)

    @functools.wraps(plain)
    def forward(*args: Any, **options: Any) -> Any:
        given = _named(signature, args, options)
        units = images_of(given)
        if units is None:
            return plain(*args, **options)
        out = keeper.recall(given, units, lambda place: _chosen(given, [place]), plain, known=whole.busy)
        return plain(*args, **options) if out is None else out

    tower.forward = forward


def bare(model: Any) -> Any:
    """Return the transformers model itself, without an adapter's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def images_of(given: Mapping[str, Any]) -> list[tuple[Tensor, ...]] | None:
    """Return what belongs to each image in a call of ``get_image_features``, or None where the layout is not understood.

    Parameters
    ----------
    given
        The call's arguments by name; ``pixel_values`` among them.
    """
    pixels = given.get("pixel_values")
    if not isinstance(pixels, Tensor):
        return None
    beside = {key: value for key, value in given.items() if isinstance(value, Tensor) and key != "pixel_values"}
    counts = beside.get("batch_num_images")
    if counts is not None and bool((counts != 1).any()):  # how an image is cut up then depends on its neighbours
        return None
    if GRID in beside:
        patches = beside[GRID].prod(-1).tolist()
        if sum(patches) != len(pixels):
            return None
        rows: Sequence[Tensor] = pixels.split(patches)
    else:
        rows = pixels.unbind() if pixels.ndim >= 3 else ()
    if not rows or any(len(value) != len(rows) for value in beside.values()):
        return None
    return list(zip(rows, *(value.unbind() for value in beside.values()), strict=True))


def distinct(parts: Sequence[tuple[Tensor, ...]]) -> tuple[list[int], list[int]]:
    """Return the places of the first of each kind of equal parts, and for every part the number of its kind.

    Equal means equal in every value; NaN equals nothing. Equal parts need not be neighbours.

    >>> one, two = torch.zeros(3), torch.ones(3)
    >>> distinct([(one,), (two,), (one.clone(),), (two[:2],)])
    ([0, 1, 3], [0, 1, 0, 2])
    """
    first: list[int] = []
    which: list[int] = []
    kinds: dict[Any, list[int]] = {}
    for place, key in enumerate(_keys(parts)):
        alike = kinds.setdefault(key, [])
        for kind in alike:
            if all(torch.equal(a, b) for a, b in zip(parts[first[kind]], parts[place], strict=True)):
                break
        else:
            kind = len(first)
            first.append(place)
            alike.append(kind)
        which.append(kind)
    return first, which


def _keys(parts: Sequence[tuple[Tensor, ...]]) -> list[Any]:
    """Return a cheap key of each part, equal for equal parts; one transfer for all of them."""
    if not parts:
        return []
    flat = [part[0].flatten() for part in parts]
    probes = [one[:: max(1, len(one) // _PROBE)][:_PROBE] for one in flat]
    shapes = [tuple(tuple(one.shape) for one in part) for part in parts]
    ends = torch.tensor([len(one) for one in probes]).cumsum(0).tolist()
    values = torch.cat(probes).tolist()
    starts = [0, *ends[:-1]]
    return [(shape, *values[a:b]) for shape, a, b in zip(shapes, starts, ends, strict=True)]


def _named(signature: inspect.Signature, args: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's arguments by name, those that were left out among them."""
    bound = dict(signature.bind(*args, **options).arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            bound |= bound.pop(name, {})
        elif parameter.default is not inspect.Parameter.empty:
            bound.setdefault(name, parameter.default)
    return bound


def _chosen(given: Mapping[str, Any], first: Sequence[int]) -> dict[str, Any]:
    """Return the arguments of a call with the images ``first`` alone."""
    out = dict(given)
    grid = given.get(GRID)
    for key, value in given.items():
        if not isinstance(value, Tensor):
            continue
        if key == "pixel_values" and grid is not None:
            rows = value.split(grid.prod(-1).tolist())
            out[key] = torch.cat([rows[place] for place in first])
        else:
            out[key] = value[list(first)]
    return out


def _repeat(out: Any, which: Sequence[int], kinds: int) -> bool:
    """Give every image of the call its features in ``out``; False, and ``out`` untouched, where that cannot be done.

    The encoder's hidden states stay those of the distinct images: the language models read the features alone.
    """
    features = getattr(out, "pooler_output", None)
    if features is None or len(features) != kinds:
        return False
    deep = getattr(out, "deepstack_features", None)
    if deep is not None and any(len(level) != kinds for level in deep):
        return False
    pick: Callable[[Any], Any] = lambda one: one[list(which)] if isinstance(one, Tensor) else [one[k] for k in which]  # noqa: E731
    out.pooler_output = pick(features)
    if deep is not None:
        out.deepstack_features = [pick(level) for level in deep]
    return True
