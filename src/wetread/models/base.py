"""What every model of the house can do, and how a model folder says what it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import wetread
from wetread.records import Generation, Inputs, Prompt, Sampling

MANIFEST = "wetread.json"
"""File in a model folder that wetread wrote: prompt style, what it is shown, modality, what it was trained on."""

Progress = Callable[[int], None]
"""Called with the number of studies that have just been finished."""


class Model(Protocol):
    """Anything that writes text for prompts.

    ``generate`` answers every prompt, in order. A failure on one batch is recorded on its Generations (``stop="error"``)
    and the next batch goes on.
    """

    name: str
    """What the record of a draft calls this model."""
    style: str
    """Prompt style that it was trained with; ``direct`` for models that do not say."""
    inputs: Inputs
    """What of a study it is shown, as in its training; may be changed, such as to leave out the prior."""
    guide: Mapping[str, Any]
    """How it was taught to think, as ``prompts.Guide`` writes it; empty for models that do not say."""

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Progress | None = None
    ) -> list[Generation]:
        """Return one Generation per prompt, same order."""
        ...


_BLOCK = 65_536
_BLOCKS = 16


def fingerprint(name: str) -> str:
    """Return 16 hex digits that stand for the contents of a model folder; empty for anything that is no folder.

    Small files are read whole. Of large ones (weights) blocks spread over the file are read, so that the answer takes
    milliseconds at any size and still tells one training's weights from another's.
    """
    folder = Path(name)
    if not folder.is_dir():
        return ""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(path for path in folder.iterdir() if path.is_file() and path.suffix not in (".md", ".part")):
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as content:
            if size <= _BLOCK * _BLOCKS:
                digest.update(content.read())
                continue
            for number in range(_BLOCKS):
                content.seek(number * (size - _BLOCK) // (_BLOCKS - 1))
                digest.update(content.read(_BLOCK))
    return digest.hexdigest()


def version(name: str, model: Model) -> str:
    """Return what tells one state of the model called ``name`` from another, in the words that exported reports use.

    The contents of a folder, else the commit of the hub that transformers names, else the version of this program.
    """
    config = getattr(getattr(model, "model", None), "config", None)
    return fingerprint(name) or str(getattr(config, "_commit_hash", None) or f"wetread {wetread.__version__}")


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """Return what ``wetread.json`` in a model folder says; empty when it has none or it cannot be read as JSON."""
    try:
        data = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def inputs_of(name: str) -> Inputs:
    """Return what the model called ``name`` was shown in training, by its manifest; the defaults where it does not say.

    Raises
    ------
    ConfigError
        The manifest says what cannot be.
    """
    said = read_manifest(Path(name)).get("inputs")
    return Inputs.from_json(said) if isinstance(said, Mapping) else Inputs()


def taught(name: str) -> str:
    """Return the prompt style that the model called ``name`` was trained with, by its manifest; empty where it does not say."""
    return str(read_manifest(Path(name)).get("style") or ("direct" if name == "template" else ""))


def guide_of(name: str) -> Mapping[str, Any]:
    """Return how the model called ``name`` was taught to think, by its manifest; empty where it does not say."""
    said = read_manifest(Path(name)).get("guide")
    return said if isinstance(said, Mapping) else {}


def write_manifest(folder: Path, **fields: Any) -> None:
    """Write ``wetread.json`` into a model folder."""
    (folder / MANIFEST).write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", "utf-8")
