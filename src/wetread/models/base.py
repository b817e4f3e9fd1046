"""What every model of the house can do, and how a model folder says what it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from wetread.records import Generation, Prompt, Sampling

MANIFEST = "wetread.json"
"""File in a model folder that wetread wrote: prompt style, modality, what it was trained on."""

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

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Progress | None = None
    ) -> list[Generation]:
        """Return one Generation per prompt, same order."""
        ...


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """Return what ``wetread.json`` in a model folder says; empty when it has none or it cannot be read as JSON."""
    try:
        data = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write_manifest(folder: Path, **fields: Any) -> None:
    """Write ``wetread.json`` into a model folder."""
    (folder / MANIFEST).write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", "utf-8")
