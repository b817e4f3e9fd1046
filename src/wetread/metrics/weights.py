"""Where a metric's weights lie: a local folder in the official layout, or the Hugging Face hub. Nothing is guessed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wetread.errors import MissingError

VARIABLE = "WETREAD_WEIGHTS"
"""Environment variable that names the folder when no ``weights`` are given."""


@dataclass(frozen=True)
class WeightsSpec:
    """What one metric needs on disk."""

    name: str
    """What it is called in messages and signatures: CheXbert."""
    folder: str
    """Its folder below the weights folder, with ``/`` between: ``chexbert``, ``ratescore/ner``."""
    files: tuple[str, ...]
    """Files that must be there, relative to that folder."""
    hub: str
    """Hugging Face repository that holds them."""
    hub_files: tuple[str, ...] = ()
    """Their names in the repository, where they differ from ``files``; empty: the same."""
    gate: str = ""
    """What has to be accepted or obtained before they may be used; empty: nothing is known to be."""


def locate(spec: WeightsSpec, weights: str | Path | None = None) -> Path:
    """Return the folder that holds the files of ``spec``.

    Looked for in ``weights``, else in the folder that ``WETREAD_WEIGHTS`` names, else in the hub's cache and on the hub.
    A folder that is named but lacks a file is an error: another source is never taken in its place.

    Raises
    ------
    MissingError
        Names the file, the hub id, the gate and how to point to a local copy.
    """
    named = weights if weights is not None else os.environ.get(VARIABLE)
    if named:
        folder = Path(named) / spec.folder
        for file in spec.files:
            if not (folder / file).is_file():
                raise MissingError(f"{spec.name}: {folder / file} is not there. {_where_from(spec)}")
        return folder
    return _from_hub(spec)


def _from_hub(spec: WeightsSpec) -> Path:
    from huggingface_hub import hf_hub_download

    found: list[Path] = []
    for file in spec.hub_files or spec.files:
        try:
            found.append(Path(hf_hub_download(spec.hub, file)))
        except Exception as error:  # offline, gated, renamed: the hub's client raises a dozen kinds
            raise MissingError(
                f"{spec.name}: {file} of {spec.hub} cannot be fetched ({type(error).__name__}). {_where_from(spec)}"
            ) from error
    return found[0].parent


def _where_from(spec: WeightsSpec) -> str:
    gate = f" {spec.gate}." if spec.gate else ""
    return (
        f"It comes from {spec.hub} on the Hugging Face hub.{gate} Put a copy in {spec.folder}/ of a folder and name that "
        f"folder with --weights or {VARIABLE}."
    )
