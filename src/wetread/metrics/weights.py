"""A metric's weights: where they lie, which they are, and with how many bits they are used.

They lie in a local folder in the official layout or on the Hugging Face hub. Nothing is guessed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from wetread.errors import MissingError, UsageError, nearest
from wetread.models.hub import check_reachable

VARIABLE = "WETREAD_WEIGHTS"
"""Environment variable that names the folder when no ``weights`` are given."""
PRECISION_VARIABLE = "WETREAD_PRECISION"
"""Environment variable that names the precision when none is given."""

Precision = Literal["fp32", "bf16"]
"""Numbers that a network computes with: single precision, as the official code, or bfloat16."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


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
                raise MissingError(f"{spec.name}: {folder / file} is not there. {where_from(spec)}")
        return folder
    return _from_hub(spec)


def precision_of(given: str | None = None) -> Precision:
    """Return the precision that is given, else the one that ``WETREAD_PRECISION`` names, else ``fp32``.

    An unknown one raises ``UsageError`` with those that are known.
    """
    named = given if given is not None else os.environ.get(PRECISION_VARIABLE) or "fp32"
    if named not in PRECISIONS:
        where = "" if given is not None else f" in {PRECISION_VARIABLE}"
        raise UsageError(
            f"precision {named!r}{where} is not known.{nearest(named, PRECISIONS)} There are: {', '.join(PRECISIONS)}."
        )
    return named


def fingerprint(files: Iterable[Path]) -> str:
    """Return 16 hex digits for the names and the whole contents of files, wherever they lie, in whatever order.

    A file is read once per process, and again when its size or its time has changed. All of it is read: two sets of weights
    may differ in one small layer. A file that is not there is ``FileNotFoundError``.
    """
    rows = []
    for file in files:
        state = file.stat()
        rows.append(f"{file.name}\0{_contents(file.resolve(), state.st_size, state.st_mtime_ns)}\0")
    return hashlib.blake2b("".join(sorted(rows)).encode(), digest_size=8).hexdigest()


def label(name: str, files: Iterable[Path], precision: Precision) -> str:
    """Return what a signature says of weights: ``CheXbert@1a2b3c4d``, with ``+bf16`` behind it where that is used."""
    return f"{name}@{fingerprint(files)[:8]}{'' if precision == 'fp32' else f'+{precision}'}"


@lru_cache(maxsize=256)
def _contents(file: Path, size: int, changed: int) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _from_hub(spec: WeightsSpec) -> Path:
    from huggingface_hub import hf_hub_download

    found: list[Path] = []
    for file in spec.hub_files or spec.files:
        try:
            check_reachable(spec.hub, file)
            found.append(Path(hf_hub_download(spec.hub, file)))
        except Exception as error:  # offline, gated, renamed: the hub's client raises a dozen kinds
            raise MissingError(
                f"{spec.name}: {file} of {spec.hub} cannot be fetched ({type(error).__name__}). {where_from(spec)}"
            ) from error
    return found[0].parent


def where_from(spec: WeightsSpec) -> str:
    """Return the end of a message that misses weights: their source, its gate and where a copy is looked for."""
    gate = f" {spec.gate}." if spec.gate else ""
    return (
        f"It comes from {spec.hub} on the Hugging Face hub.{gate} Put a copy in {spec.folder}/ of a folder and name that "
        f"folder with --weights or {VARIABLE}."
    )
