"""Finding what a data set consists of, and reading its tables.

Tables may be compressed: ``.csv.gz``, or ``.csv.zip`` with one table in it. A path that a table names stays below the
folder of images, whatever it says.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from wetread.errors import MissingError, StudyError, nearest
from wetread.studies.datasets.base import Dropped, Place
from wetread.studies.tables import csv_rows

SAMPLE = 400
"""Images, evenly spread over a set, by which the folder of its images is found."""
SHOWN = 8
"""Entries of a folder that a message names."""
CUT = "a file cannot be read on: damaged or cut short"
"""Reason of a row behind which a file could not be read."""
PICTURES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp", ".webp", ".gif")
"""Suffixes of image files."""


def must_exist(place: Place) -> None:
    """Refuse a root, or one of the folders beside it, that is not there (``MissingError`` names the nearest)."""
    for path in (place.root, place.images, place.reports, place.splits):
        if path is not None and not path.exists():
            try:
                near = nearest(path.name, [entry.name for entry in path.absolute().parent.iterdir()])
            except OSError:
                near = " Its folder does not exist either."
            raise MissingError(f"there is no file or folder {str(path)!r}.{near}")


def is_there(path: Path) -> bool:
    """Whether a file is there and holds something; a name that no file can have is no error."""
    try:
        return path.stat().st_size > 0
    except (OSError, ValueError):
        return False


def contents(folder: Path) -> str:
    """Return the first entries of a folder in words; several that differ in digits alone are one pattern.

    Patterns, since the names in a data set's folders may be those of patients.
    """
    if not folder.is_dir():
        return f"the file {folder.name}" if folder.exists() else "nothing"
    shapes: dict[str, list[str]] = defaultdict(list)
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        name = entry.name + ("/" if entry.is_dir() else "")
        shapes["".join("#" if letter.isdigit() else letter for letter in name)].append(name)
    told = [names[0] if len(names) == 1 else f"{shape} ({len(names)})" for shape, names in shapes.items()]
    return ", ".join(told[:SHOWN]) + (" …" if len(told) > SHOWN else "") if told else "nothing"


def wrong_layout(place: Place, title: str, wanted: str) -> StudyError:
    """Return the error for a place that does not look like the data set: what was looked for and what is there."""
    return StudyError(
        f"{place.root.name or place.root} does not look like {title}: looked for {wanted}; found {contents(place.root)}. "
        "Name the folder that holds it."
    )


def first_of(folders: Sequence[Path], patterns: Sequence[str]) -> Path | None:
    """Return the first file that matches one of the patterns, folder by folder; of several the last by name."""
    for folder in folders:
        if folder.is_dir():
            for pattern in patterns:
                found = sorted(path for path in folder.glob(pattern) if path.is_file())
                if found:
                    return found[-1]
    return None


def check_columns(path: Path, needed: Sequence[str]) -> None:
    """Refuse a table that is empty or has no such columns (``StudyError`` names those that it has)."""
    first = next(csv_rows(path), None)
    header = [cell.strip() for cell in first[1]] if first else []
    missing = [repr(name) for name in needed if name not in header]
    if missing or not header:
        have = ", ".join(header[:20]) or "nothing"
        raise StudyError(f"{path.name}: no column {', '.join(missing) or 'at all'}; there are: {have}.")


def records(path: Path) -> Iterator[tuple[int, Mapping[str, str]] | Dropped]:
    """Yield the rows of a CSV with a header, also ``.gz`` or ``.zip``, each with its line.

    A row that cannot be read comes as ``Dropped``. Where the table cannot be read on, one of those is the last.
    """
    rows = csv_rows(path)
    header: list[str] = []
    while True:
        try:
            line, row = next(rows)
        except StopIteration:
            return
        except StudyError as error:  # nothing behind it can be trusted
            yield Dropped(CUT, path.name, detail=str(error))
            return
        if not header:
            header = [cell.strip() for cell in row]
        elif len(row) != len(header):
            detail = f"{len(row)} fields where {len(header)} must be"
            yield Dropped("a row with other fields than the header", f"{path.name}, line {line}", detail=detail)
        else:
            yield line, dict(zip(header, row, strict=True))


def beside(path: Path, problems: list[Dropped]) -> Iterator[Mapping[str, str]]:
    """Yield the rows of a table that belongs to another, without lines; what cannot be read goes to ``problems``."""
    for found in records(path):
        if isinstance(found, Dropped):
            problems.append(found)
        else:
            yield found[1]


def below(name: str) -> PurePosixPath | None:
    """Return a name as a relative path that stays below its folder; leading ``./`` and ``../`` are cut off.

    None for a name that leads out, is absolute or is empty.

    >>> below("../deid_png/a/1.png"), below("a/../../b.png"), below("/etc/x.png")
    (PurePosixPath('deid_png/a/1.png'), None, None)
    """
    path = PurePosixPath(name.strip().replace("\\", "/"))
    parts = [part for part in path.parts if part != "."]
    while parts and parts[0] == "..":
        parts.pop(0)
    if not parts or path.is_absolute() or ".." in parts or "\0" in name or PureWindowsPath(name.strip()).drive:
        return None
    if not name.isascii() and name.encode("utf-8", "replace").decode() != name:
        return None
    return PurePosixPath(*parts)


@dataclass(frozen=True)
class Anchor:
    """Where the images of a data set lie, and how the names in its tables become files."""

    root: Path
    """Folder that the names are relative to."""
    suffix: str | None = None
    """Suffix of the files in place of the one that is written; None: as it is written."""

    def file(self, name: PurePosixPath) -> Path:
        """Return the file of a name."""
        return self.root / (name if self.suffix is None else name.with_suffix(self.suffix))


def anchor(
    place: Place, names: Sequence[str], pattern: str, folders: Sequence[str] = (), suffixes: Sequence[str] = ()
) -> Anchor:
    """Return where the images lie: of the folders and suffixes those with most of an even sample of the names.

    Parameters
    ----------
    place
        The data set; ``images`` is looked into first, else the root.
    names
        Relative names of images, as tables give them.
    pattern
        How image files are called, for the message.
    folders
        Folders below, in which the images may lie, the likeliest first.
    suffixes
        Suffixes that the files may have in place of the one that is written.

    Raises
    ------
    StudyError
        None of the sample is there: says what was looked for, where, and what is there.
    """
    top = place.images or (place.root if place.root.is_dir() else place.root.parent)
    roots = [top / folder for folder in ("", *folders)]
    if not place.look:
        return Anchor(top)
    spread = names[:: max(1, len(names) // SAMPLE)][:SAMPLE]
    sample = [path for name in spread if (path := below(name)) is not None]
    best, most = Anchor(top), 0
    for root in (root for root in roots if root.is_dir()):
        for suffix in (None, *suffixes):
            one = Anchor(root, suffix)
            hits = sum(is_there(one.file(path)) for path in sample)
            if hits > most:
                best, most = one, hits
            if hits and hits == len(sample):
                return one
    if sample and not most:
        where = ", ".join(f"{top.name or top}/{folder}".rstrip("/") for folder in ("", *folders))
        raise StudyError(
            f"no image was found: looked for {pattern} in {where}; {top.name or top} has {contents(top)}. Name the folder "
            "of the images with --images, or import the reports alone with --no-images."
        )
    return best


class Index:
    """The image files below some folders by their names without suffix; for sets whose tables give no folder."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._files: dict[str, Path] = {}
        for folder in folders:
            for where, inner, names in os.walk(folder):
                inner.sort()
                for name in sorted(names):
                    if Path(name).suffix.lower() in PICTURES and not name.startswith("."):
                        self._files.setdefault(stem(name), Path(where) / name)

    def __len__(self) -> int:
        return len(self._files)

    def get(self, name: str) -> Path | None:
        """Return the file that is called so, with whatever suffix; None where there is none."""
        return self._files.get(stem(name))

    def starting(self, name: str) -> list[Path]:
        """Return the files called ``name``, or ``name`` with ``_``, ``-`` or ``.`` and more, in order."""
        marks = tuple(f"{name}{mark}" for mark in "_-.")
        return [path for key, path in sorted(self._files.items()) if key == name or key.startswith(marks)]


def stem(name: str) -> str:
    """Return the last part of a name without its suffixes of images.

    >>> stem("images/4_IM-2050-1001.dcm.png"), stem("1.2.840.7")
    ('4_IM-2050-1001', '1.2.840.7')
    """
    last = PurePosixPath(name.replace("\\", "/")).name
    while PurePosixPath(last).suffix.lower() in PICTURES and PurePosixPath(last).stem:
        last = PurePosixPath(last).stem
    return last
