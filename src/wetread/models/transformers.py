"""Any image-text-to-text model of the transformers library, from a local folder or a Hugging Face id."""

from __future__ import annotations

import dataclasses
import re
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wetread.errors import MissingError, UsageError, WetreadError
from wetread.models.base import Progress, guide_of, inputs_of, read_manifest, taught
from wetread.models.hub import check_reachable
from wetread.records import Generation, Inputs, Pixels, Prompt, Sampling


class TransformersModel:
    """A model with its processor, generating in batches.

    Parameters
    ----------
    model, processor
        As transformers loads them.
    name
        Name in the records.
    style
        Prompt style the model was trained with.
    inputs
        What of a study it is shown.
    guide
        How it was taught to think, see ``Model``.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        name: str,
        style: str = "direct",
        inputs: Inputs | None = None,
        guide: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.processor = processor
        self.name = name
        self.style = style
        self.inputs = inputs or Inputs()
        self.guide = guide or {}
        tokenizer = getattr(processor, "tokenizer", processor)
        tokenizer.padding_side = "left"  # generation continues at the right end of every row
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.tokenizer = tokenizer

    @classmethod
    def open(cls, name: str, *, device: str = "auto") -> TransformersModel:
        """Load ``name``, a folder or a hub id.

        Raises
        ------
        MissingError
            Nothing usable at ``name``: which file, extra or access is missing.
        UsageError
            A model, but not image-text-to-text.
        """
        model, processor = load(name)
        model.to(pick_device(device)).eval()
        manifest = read_manifest(Path(name))
        shown = Path(name).name if Path(name).exists() else name
        style = taught(name) or "direct"
        return cls(model, processor, str(manifest.get("name", shown)), style, inputs_of(name), guide_of(name))

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Progress | None = None
    ) -> list[Generation]:
        """Return one Generation per prompt; a batch that fails is retried one by one, and what still fails is recorded."""
        import torch

        torch.manual_seed(sampling.seed)
        out: list[Generation] = []
        for batch in _batches(prompts, sampling.batch_size):
            out.extend(self._answer(batch, sampling))
            if progress is not None:
                progress(len(batch))
        return out

    def _answer(self, batch: Sequence[Prompt], sampling: Sampling) -> list[Generation]:
        start = time.perf_counter()
        try:
            made = self._generate(batch, sampling)
        except (WetreadError, RuntimeError, ValueError, OSError, MemoryError) as error:
            if len(batch) > 1:  # one bad image must not cost its neighbours their drafts
                return [one for prompt in batch for one in self._answer([prompt], sampling)]
            said = (
                str(error)
                if isinstance(error, WetreadError)
                else f"generation failed ({type(error).__name__}: {error})"
            )
            return [Generation(batch[0].study, stop="error", error=" ".join(said.split())[:400])]
        seconds = (time.perf_counter() - start) / len(batch)
        return [dataclasses.replace(one, seconds=round(seconds, 4)) for one in made]

    def _generate(self, batch: Sequence[Prompt], sampling: Sampling) -> list[Generation]:
        import torch

        inputs = encode(self.processor, batch).to(self.model.device)
        options: dict[str, Any] = {"max_new_tokens": sampling.max_new_tokens, "do_sample": sampling.temperature > 0}
        if sampling.temperature > 0:
            options |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        with torch.inference_mode():
            ids = self.model.generate(**inputs, **options)
        new = ids[:, inputs["input_ids"].shape[1] :]
        ends = _end_ids(self.model, self.tokenizer)
        made = []
        for prompt, row in zip(batch, new.tolist(), strict=True):
            length = next((i for i, token in enumerate(row) if token in ends), None)
            kept = row if length is None else row[:length]
            text = self.tokenizer.decode(kept, skip_special_tokens=True)
            made.append(Generation(prompt.study, text, "length" if length is None else "end", len(kept)))
        return made


def messages(prompt: Prompt) -> list[dict[str, Any]]:
    """Return the prompt as turns of image and text parts: the first question, and what was answered and asked since."""
    made = [_user(prompt.text, len(prompt.images))]
    for turn in prompt.turns:
        made.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
        made.append(_user(turn.question, len(turn.images)))
    return made


def turns(prompt: Prompt) -> list[dict[str, Any]]:
    """Return the prompt as TRL's trainers take it: texts alone where there is one turn, which gets the images; else ``messages``."""
    return messages(prompt) if prompt.turns else [{"role": "user", "content": prompt.text}]


def _user(text: str, images: int) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "image"} for _ in range(images)]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def to_picture(pixels: Pixels) -> Any:
    """Return grey values (rows, columns) in 0..1 as an 8-bit RGB ``PIL.Image``, which every image processor accepts."""
    import numpy as np
    from PIL import Image

    grey = np.clip(pixels * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def encode(processor: Any, batch: Sequence[Prompt]) -> Any:
    """Return the model inputs of a batch of prompts (``BatchFeature``: input_ids (B, T), pixel_values …)."""
    texts = [processor.apply_chat_template(messages(p), add_generation_prompt=True, tokenize=False) for p in batch]
    pictures = [[to_picture(image.pixels()) for image in prompt.all_images] for prompt in batch]
    return processor(text=texts, images=pictures, padding=True, return_tensors="pt", add_special_tokens=False)


def pick_device(device: str) -> str:
    """Return the torch device that ``device`` means; ``auto`` takes a GPU where there is one."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?|mps", device):
        raise UsageError(f"unknown device {device!r}; allowed are auto, cpu, cuda, cuda:N and mps.")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise MissingError(
            f"device {device!r} asked for, but torch {torch.__version__} sees no GPU here; use --device cpu."
        )
    return device


def load(name: str, **options: Any) -> tuple[Any, Any]:
    """Return (model, processor) of ``name`` on the CPU.

    Parameters
    ----------
    name
        A folder or a hub id.
    options
        For the model's ``from_pretrained``; without any, weights keep the precision that they are stored in.

    Raises
    ------
    MissingError, UsageError
        As ``TransformersModel.open``.
    """
    return _opened(name, lambda auto, _: auto.from_pretrained(name, **{"dtype": "auto", **options}))


def skeleton(name: str) -> tuple[Any, Any]:
    """Return (model, processor) of ``name`` with the model on the meta device: shapes alone, no weights are read.

    Raises
    ------
    MissingError, UsageError
        As ``TransformersModel.open``.
    """
    import torch

    def make(auto: Any, config: Any) -> Any:
        with torch.device("meta"):
            return auto.from_config(config, dtype=config.dtype or torch.float32)

    return _opened(name, make)


def _opened(name: str, make: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    check(name)
    from transformers import AutoConfig, AutoModelForImageTextToText
    from transformers.utils import logging

    import wetread.models.tower  # noqa: F401  (registers the tiny policy's tower)
    from wetread.models.processors import open_processor

    local = Path(name).exists()
    logging.disable_progress_bar()
    try:
        if not local:
            check_reachable(name, "config.json")
        config = AutoConfig.from_pretrained(name)
        if type(config) not in AutoModelForImageTextToText._model_mapping:
            raise UsageError(
                f"{name} is a {config.model_type!r} model, not image-text-to-text; it cannot read radiographs. Give a vision-language model."
            )
        processor = open_processor(name, config)
        model = make(AutoModelForImageTextToText, config)
    except WetreadError:
        raise
    except Exception as error:  # damaged files fail in as many ways as there are libraries below
        raise _explained(name, local, error) from error
    if not hasattr(processor, "image_processor"):
        raise UsageError(f"{name} has no image processor (preprocessor_config.json); it cannot read radiographs.")
    return model, processor


def check(name: str) -> None:
    """Refuse what cannot be a model, without loading anything: a folder without a config, neither folder nor hub id.

    Raises
    ------
    MissingError
        Says what is missing and what may be given.
    """
    folder = Path(name)
    if folder.exists() and not (folder / "config.json").is_file():
        raise MissingError(
            f"no model in {name}: it has no config.json. Give a folder that a training run saved, a Hugging Face id, or 'template'."
        )
    if not folder.exists() and not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise MissingError(
            f"no model at {name!r}: no such folder. Give a saved model's folder (after `wetread demo`: runs/demo/model), a Hugging Face id (owner/name), or 'template'."
        )


def _explained(name: str, local: bool, error: Exception) -> WetreadError:
    """Return the one-line error for what transformers raised while loading ``name``."""
    said = " ".join(str(error).split())
    if isinstance(error, ImportError) or "requires the Torchvision" in said or "torchvision" in said.lower():
        needed = "torchvision" if "torchvision" in said.lower() else _shorter(said, 160)
        return MissingError(f"{name} needs {needed}, which is not installed: pip install 'wetread[gpu]'.")
    if "gated" in said.lower() or "401" in said or "403" in said:
        return MissingError(
            f"{name} is gated: accept its licence on the hub and log in (`hf auth login`), or give a local copy's folder."
        )
    if local:
        return MissingError(
            f"the model in {name} cannot be loaded ({type(error).__name__}: {_shorter(said, 200)}). Copy or train it again, or give another folder."
        )
    return MissingError(
        f"{name} cannot be fetched from the Hugging Face hub ({type(error).__name__}) and is not in the local cache: "
        "config.json, the processor files and *.safetensors are needed. Connect, or download it elsewhere and give its folder."
    )


def _shorter(text: str, most: int) -> str:
    return textwrap.shorten(text, most, placeholder=" …")


def _end_ids(model: Any, tokenizer: Any) -> set[int]:
    ends = model.generation_config.eos_token_id
    found = set(ends) if isinstance(ends, list) else {ends}
    return {token for token in (*found, tokenizer.eos_token_id) if token is not None}


def _batches(prompts: Sequence[Prompt], size: int) -> Iterator[Sequence[Prompt]]:
    for start in range(0, len(prompts), max(1, size)):
        yield prompts[start : start + max(1, size)]
