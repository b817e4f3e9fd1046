"""A trained policy on disk: weights, processor and model card, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wetread.runs.store import disk_error
from wetread.training.card import Card


def save_policy(model: Any, processor: Any, card: Card, target: Path) -> None:
    """Write a policy into the folder ``target``, which `wetread draft --model` opens.

    Raises
    ------
    RunError
        The disk is full or the folder cannot be written.
    """

    def save(part: Path) -> None:
        model.save_pretrained(part)
        processor.save_pretrained(part)
        card.write(part, model, target)

    save_whole(save, target)


def save_whole(save: Callable[[Path], None], target: Path) -> None:
    """Let ``save`` fill a folder that appears under its name only when it is complete."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{target.name}-*"):  # by a kill while it was saved
            shutil.rmtree(left)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        save(part)
        if target.exists():
            shutil.rmtree(target)
        part.chmod(0o755)
        part.rename(target)
    except OSError as error:
        raise disk_error(target, error) from error
