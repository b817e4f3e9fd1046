"""What a frozen image encoder makes of an image, kept: the image is not encoded again while memory lasts.

With micro-batches smaller than a group an image comes again in every one of them, in the old log-probabilities and in the
reference model's; in SFT it comes again in every epoch. Where nothing that is trained or random has a part in its features,
they are a constant of pixels and weights, and known by both. An encoder that is trained, drops out or normalises by its
batch is left alone, call by call.

Images that are not known are encoded one by one: features then never depend on what else was in a batch or in memory, and a
training that is killed and continued has those it would have had.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wetread.training.adapters import LANGUAGE

log = logging.getLogger(__name__)

LIMIT = 512 * 1024 * 1024
"""Bytes of features that a process keeps, where the encoder computes."""
_BLOCK = 1 << 16
"""Words of a tensor that are summed up together."""
_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int32}
_PLAIN = (type(None), bool, int, float, str, torch.dtype)


@dataclass(frozen=True)
class Entry:
    """What came out for an image."""

    form: Any
    """What was returned, without its tensors; equal for all images of a call."""
    tensors: tuple[Tensor, ...]
    """The tensors in it, without the dimension of rows."""

    @property
    def bytes(self) -> int:
        """Memory that they take."""
        return sum({id(one): one.nbytes for one in self.tensors}.values())


class Features:
    """Features by what they are made of, most recently used last, up to ``limit`` bytes; one memory may serve several models.

    Parameters
    ----------
    limit
        Most bytes.
    expected
        Different images that will come again and again, at least so many, in an order that favours none; where they do not
        all fit nothing is kept, since most would have gone before they came again. 0: not known.
    """

    def __init__(self, limit: int = LIMIT, expected: int = 0) -> None:
        self.limit = limit
        self.expected = expected
        self.bytes = 0
        self._kept: OrderedDict[Any, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Any) -> Entry | None:
        """Return what is kept under a key."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: Any, made: Entry) -> bool:
        """Keep an entry under a key; False, and nothing is kept from now on, where the expected images would not all fit."""
        if self.expected * made.bytes > self.limit:
            self.limit = self.bytes = 0
            self._kept.clear()
            return False
        if key in self._kept:
            self.bytes -= self._kept.pop(key).bytes
        self._kept[key] = made
        self.bytes += made.bytes
        while self.bytes > self.limit:
            self.bytes -= self._kept.popitem(last=False)[1].bytes
        return True


class Encoder:
    """A place in a model where images go in and something comes out for each of them; remembers what came out.

    Parameters
    ----------
    parts
        Gives the modules that it runs, each with its own weights; their weights are to be frozen.
    others
        A module that has all of these in it and others that might have a part in what comes out.
    memory
        Where it is kept.
    name
        Tells apart encoders of the same weights.
    """

    def __init__(
        self, parts: Callable[[], Iterable[nn.Module]], others: nn.Module, memory: Features, name: str
    ) -> None:
        self.parts = parts
        self.others = others
        self.memory = memory
        self.name = name
        self.busy = False
        """Whether it is encoding right now."""
        self.off = False
        """Set where what comes out is not understood, or not a constant."""
        self._proved: set[Any] = set()
        self._stamp: Any = None
        self._weights = ""

    def recall(
        self, given: Mapping[str, Any], units: Sequence[tuple[Tensor, ...]], one: Callable[[int], dict[str, Any]],
        run: Callable[..., Any], *, known: bool = False,
    ) -> Any:  # fmt: skip
        """Return the output for all images of a call, from memory where it is there; None where it is to be called plainly.

        Parameters
        ----------
        given
            The call's arguments by name.
        units
            What belongs to each image, which differ.
        one
            Gives the arguments with an image alone.
        run
            The plain call.
        known
            Take what is there already, and do not encode.
        """
        if self.off or not self.memory.limit or torch.is_inference_mode_enabled():
            return None
        parts = list(self.parts())
        weights = [value for part in parts for value in _own(part)]
        if any(value.requires_grad for value in weights) or any(part.requires_grad for unit in units for part in unit):
            return None
        if any(map(_varies, parts)):
            return None
        base = self._base(given, weights, units[0][0].device.type)
        if base is None:
            return None
        proof = (self._weights, any(part.training for part in parts))
        keys = [(base, key) for key in digests(units)]
        open_ = proof not in self._proved and (proof[1] or any(one.requires_grad for one in self.others.parameters()))
        made: list[Entry] = []
        for place, key in enumerate(keys):
            entry = None if open_ else self.memory.get(key)
            if entry is None and known:
                return None
            if entry is None:
                entry = self._encode(one(place), run, prove=open_)
                if entry is None or not self.memory.put(key, entry):
                    return None
                open_ = False
                self._proved.add(proof)
            made.append(entry)
        return self.join(made[0].form, [entry.tensors for entry in made])

    def split(self, out: Any) -> Entry | None:
        """Return the entry of an output for one image; None: not understood."""
        raise NotImplementedError

    def join(self, form: Any, made: Sequence[Sequence[Tensor]]) -> Any:
        """Return an output of that form for several images."""
        raise NotImplementedError

    def _encode(self, given: dict[str, Any], run: Callable[..., Any], *, prove: bool) -> Entry | None:
        """Return what is to be kept of an image; None, and off, where it is not understood or, if asked to prove it, no constant."""
        before = _random_state()
        self.busy = True
        try:
            with torch.set_grad_enabled(prove):
                found = self.split(run(**given))
                learns = prove and found is not None and self._learns(found.tensors)
        finally:
            self.busy = False
        why = "has a part that is trained" if learns else ""
        if not all(map(torch.equal, before, _random_state())):
            why = "draws random numbers"
        if found is None or why:
            self.off = True
            told = (self.name, type(self.others).__name__, why or "returns something else than one entry an image")
            log.warning("%s of %s %s; what it returns is not kept", *told)
            return None
        kept = {id(value): value.detach().clone() for value in found.tensors}
        return Entry(found.form, tuple(kept[id(value)] for value in found.tensors))

    def _learns(self, made: Sequence[Tensor]) -> bool:
        """Whether a gradient would reach a weight; a hook alone, which gradient checkpointing needs, counts for nothing."""
        roots = [value for value in made if value.requires_grad]
        learned = [one for one in self.others.parameters() if one.requires_grad]
        if not roots or not learned:
            return False
        ones = [torch.ones_like(value) for value in roots]
        return any(one is not None for one in torch.autograd.grad(roots, learned, ones, allow_unused=True))

    def _base(self, given: Mapping[str, Any], weights: Sequence[Tensor], device: str) -> Any:
        """Return what outputs depend on beside the images, to be compared; None where an argument cannot be."""
        beside: list[tuple[Any, ...]] = []
        for name, value in given.items():
            if name == "use_cache":  # of keys and values; transformers passes it on in some modes
                continue
            if isinstance(value, Tensor):
                beside.append((name,))
            elif isinstance(value, _PLAIN):
                beside.append((name, type(value), value))
            elif isinstance(value, list | tuple) and all(isinstance(one, _PLAIN) for one in value):
                beside.append((name, type(value), tuple(value)))
            else:
                return None
        stamp = [(value.data_ptr(), value.shape, 0 if value.is_inference() else value._version) for value in weights]
        if stamp != self._stamp:
            told = f"{self.name} {self._config()} {digests([weights])[0]}"
            self._weights = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
            self._stamp = stamp
        mixed = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        return self._weights, tuple(beside), mixed

    def _config(self) -> str:
        """Return what the model's config says of images."""
        config: Any = getattr(self.others, "config", None)
        config = config.to_dict() if config is not None else {}
        shown = {key: value for key, value in config.items() if "vision" in key or "image" in key}
        return f"{type(self.others).__name__} {json.dumps(shown, sort_keys=True, default=str)}"


class ImageFeatures(Encoder):
    """All that ``get_image_features`` of a model runs: everything in it but the language model."""

    def __init__(self, model: nn.Module, memory: Features) -> None:
        super().__init__(functools.partial(_beside_language, model), model, memory, "get_image_features")

    def split(self, out: Any) -> Entry | None:
        """Return the features, then those of deeper layers where there are any."""
        features, deep = getattr(out, "pooler_output", None), getattr(out, "deepstack_features", None)
        if features is None or any(len(level) != 1 for level in (features, *(deep or ()))):
            return None
        made = (features[0], *(level[0] for level in deep or ()))
        if not all(isinstance(one, Tensor) for one in made):
            return None
        return Entry((type(out), isinstance(features, Tensor), deep is not None), made)

    def join(self, form: Any, made: Sequence[Sequence[Tensor]]) -> Any:
        """Return features of several images; the encoder's hidden states, which only it reads, are left out."""
        kind, stacked, deep = form
        features, *levels = [[one[place] for one in made] for place in range(len(made[0]))]
        out = kind()
        out.pooler_output = torch.stack(features) if stacked else features
        if deep:
            out.deepstack_features = levels
        return out


class TowerStates(Encoder):
    """An image tower by itself, beside a projector that is trained: a row of pixels (N, C, H, W) or tiles each."""

    def __init__(self, tower: nn.Module, memory: Features) -> None:
        super().__init__(tower.modules, tower, memory, "image tower")

    def split(self, out: Any) -> Entry | None:
        """Return every field: a tensor, or a list of them and of None, as hidden states are."""
        fields: dict[str, Any] = {}
        made: list[Tensor] = []
        for name, value in out.items() if hasattr(out, "items") else ():
            several = isinstance(value, list | tuple)
            places: list[int | None] = []
            for state in value if several else [value]:
                if state is not None and not (isinstance(state, Tensor) and len(state) == 1):
                    return None
                places.append(None if state is None else len(made))
                made += [] if state is None else [state]
            fields[name] = tuple(places) if several else places[0]
        rows = {id(state): state[0] for state in made}
        return Entry((type(out), fields), tuple(rows[id(state)] for state in made)) if made else None

    def join(self, form: Any, made: Sequence[Sequence[Tensor]]) -> Any:
        """Return the states of several images."""
        kind, fields = form
        whole = [torch.stack([one[place] for one in made]) for place in range(len(made[0]))]
        pick = lambda place: None if place is None else whole[place]  # noqa: E731
        return kind(
            **{name: tuple(map(pick, at)) if isinstance(at, tuple) else pick(at) for name, at in fields.items()}
        )


def digests(units: Sequence[Sequence[Tensor]]) -> list[Any]:
    """Return what each sequence of tensors is known by; one transfer for all of them.

    Beside shapes and types these are two sums of every block of ``_BLOCK`` words, each word times a random number of 64 bits,
    modulo 2^64. Whatever two blocks hold, if they differ their sums agree with a chance below 2^-66.

    >>> one, other = digests([[torch.zeros(3)], [torch.tensor([0.0, 0.0, 1e-9])]])
    >>> one == other, one == digests([[torch.zeros(3)]])[0]
    (False, True)
    """
    sums = [[_sums(value) for value in unit] for unit in units]
    flat = [one.flatten() for unit in sums for one in unit]
    numbers = iter(torch.cat(flat).tolist() if flat else [])
    return [
        tuple(
            (str(value.dtype), tuple(value.shape), *(next(numbers) for _ in range(one.numel())))
            for value, one in zip(unit, of, strict=True)
        )
        for unit, of in zip(units, sums, strict=True)
    ]


def _sums(value: Tensor) -> Tensor:
    """Return the sums of a tensor's blocks, (2, blocks)."""
    flat = value.detach().contiguous().reshape(-1)
    words = flat.view(_WORDS[flat.element_size()]).long()
    width = min(_BLOCK, len(words))
    if not width:
        return words.new_zeros(2, 1)
    blocks = nn.functional.pad(words, (0, -len(words) % width)).reshape(-1, width)
    return torch.stack([(blocks * numbers[:width]).sum(1) for numbers in _numbers(value.device)])


@functools.cache
def _numbers(device: torch.device) -> Tensor:
    """Return the numbers that words are multiplied by, (2, _BLOCK), the same in every process."""
    made = torch.Generator().manual_seed(0)
    return torch.randint(-(2**63), 2**63 - 1, (2, _BLOCK), generator=made).to(device)


def _beside_language(model: nn.Module) -> Iterable[nn.Module]:
    """Yield the modules of a model that are not in its language model, itself first."""
    yield model
    for name, child in model.named_children():
        if name not in LANGUAGE:
            yield from child.modules()


def _own(module: nn.Module) -> list[Tensor]:
    """Return a module's own parameters and buffers, not those of modules in it."""
    return [value for values in (module._parameters, module._buffers) for value in values.values() if value is not None]


def _varies(module: nn.Module) -> bool:
    """Whether a module may make other things of the same input: dropout, statistics of the batch, an adapter that is on or off."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return module.training or module.running_mean is None
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.training and module.p > 0
    return hasattr(module, "adapter_layer_names")


def _random_state() -> list[Tensor]:
    states = [torch.get_rng_state()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states.append(torch.cuda.get_rng_state())
    return states
