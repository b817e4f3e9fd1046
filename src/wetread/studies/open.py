"""From paths to studies: one file, several files, folders.

How studies are named: a study of one image is called like its file, relative to the path that was given and without a
known suffix (``ward3/film.dcm`` is ``ward3/film``), so that whoever gave the files finds them again; a study of several
DICOM images is called by the pseudonym of its StudyInstanceUID, and its image names lead back to the files. Where two
names would be equal the suffix stays, then a number is added. File names are repeated as given: where they hold
identifiers, rename the files first.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from wetread.errors import MissingError, Refused, StudyError, WetreadError, nearest
from wetread.records import FRONTAL_FIRST, Image, Pixels, Study, View
from wetread.studies.anonymise import DEFAULT_KEY
from wetread.studies.dicom import looks_like_dicom, peek, read_dicom
from wetread.studies.dicom_header import Header
from wetread.studies.pictures import looks_like_picture, read_picture

logger = logging.getLogger(__name__)

NOT_IMAGES = frozenset({
    ".csv", ".tsv", ".json", ".jsonl", ".md", ".txt", ".rst", ".xml", ".html", ".htm", ".css", ".js", ".yaml", ".yml",
    ".toml", ".ini", ".log", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".zip", ".gz", ".tgz", ".tar", ".7z", ".rar",
    ".py", ".sh", ".ipynb", ".npy", ".npz", ".safetensors", ".db", ".sqlite", ".bib", ".lock", ".sha256", ".md5",
})  # fmt: skip
"""Suffixes that a folder walk passes over without a word."""
_NOT_IMAGE_NAMES = frozenset({"readme", "license", "licence", "copying", "notice", "sha256sums", "md5sums", "makefile",
                              "dicomdir", "thumbs.db", "desktop.ini", "lockfile"})  # fmt: skip
_IMAGE_SUFFIXES = frozenset({".dcm", ".dicom", ".ima", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp",
                             ".gif", ".jp2", ".dic"})  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A file that gave no study, and why."""

    name: str
    """The file, relative to the path that was given; never an absolute path."""
    status: Literal["refused", "failed"]
    """``refused``: readable, but must not be drafted; ``failed``: cannot be read."""
    reason: str
    """One line: what was found, what is allowed, what to do."""


@dataclass(frozen=True)
class _File:
    """One candidate: where it is, how it is called, and whether it was named by the user."""

    path: Path
    name: str


class _Recent:
    """The pixels decoded last, so that opening a study to learn its status and then loading it decodes once.

    Holds at most ``budget`` bytes; keyed by path, size and time of change, so that a changed file is read again.
    """

    def __init__(self, budget: int = 64_000_000) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Any, ...], Pixels] = OrderedDict()

    @staticmethod
    def key(path: Path, force: bool) -> tuple[Any, ...]:
        stat = path.stat()
        return (str(path.absolute()), stat.st_size, stat.st_mtime_ns, force)

    def put(self, path: Path, force: bool, pixels: Pixels) -> None:
        if pixels.nbytes > self._budget:
            return
        with self._lock:
            self._kept[self.key(path, force)] = pixels
            while sum(kept.nbytes for kept in self._kept.values()) > self._budget:
                self._kept.popitem(last=False)

    def take(self, path: Path, force: bool) -> Pixels | None:
        """Return the pixels and forget them: a second load decodes again, and nobody shares an array."""
        with self._lock:
            return self._kept.pop(self.key(path, force), None)


_recent = _Recent()


def load_pixels(path: Path, force: bool, name: str) -> Pixels:
    """Return the grey values of one file; what ``Image.load`` calls, at module level so that it can be pickled.

    Raises
    ------
    StudyError
        When the file is gone or cannot be decoded any more.
    """
    try:
        kept = _recent.take(path, force)
    except OSError as error:
        raise StudyError(f"{name}: the file is gone or cannot be read ({error.strerror}).") from error
    if kept is not None:
        return kept
    if _kind(path, name) == "dicom":
        return read_dicom(path, name=name, force=force).pixels
    return read_picture(path, name=name, force=force).pixels


def _kind(path: Path, name: str) -> Literal["dicom", "picture"]:
    """Return what the file is by its first bytes.

    The DICOM mark is looked at first: a DICOM preamble may be a valid TIFF beginning (dual-personality files).
    """
    if path.is_dir():
        raise StudyError(f"{name}: this is a folder; give one file, or walk it with wetread.studies.find_studies.")
    if not path.exists():
        raise StudyError(f"{name}: there is no such file or folder.{_near(path)}")
    if not path.is_file():
        raise StudyError(f"{name}: neither a file nor a folder; give a DICOM or picture file.")
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError as error:
        raise StudyError(f"{name}: the file cannot be read ({error.strerror or 'input/output error'}).") from error
    if not head:
        raise StudyError(f"{name}: the file is empty (0 bytes); send it again.")
    if head[128:] == b"DICM":
        return "dicom"
    if looks_like_picture(head):
        return "picture"
    if looks_like_dicom(head) or path.suffix.lower() in {".dcm", ".dicom", ".ima", ".dic"}:
        return "dicom"
    raise StudyError(f"{name}: not a DICOM or picture file; DICOM, PNG, JPEG, TIFF, BMP and WebP files are read.")


def _stem(name: str) -> str:
    """Return the name without a known image suffix; a UID's last number is not a suffix.

    >>> _stem("a/film.dcm"), _stem("1.2.840.7")
    ('a/film', '1.2.840.7')
    """
    path = Path(name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in _IMAGE_SUFFIXES and path.stem else name


def _open(file: _File, force: bool, key: bytes) -> tuple[Image, Header | None, str]:
    """Return one file's image, its header (None for a picture) and its format; decodes the pixels once."""
    if _kind(file.path, file.name) == "dicom":
        reading = read_dicom(file.path, name=file.name, force=force, key=key)
        pixels, notes, header, source = reading.pixels, reading.header.notes, reading.header, "dicom"
    else:
        picture = read_picture(file.path, name=file.name, force=force)
        pixels, notes, header, source = picture.pixels, picture.notes, None, picture.format
    _recent.put(file.path, force, pixels)
    view: View = header.view if header else "unknown"
    path = file.path.absolute()
    return Image(file.name, view, notes, partial(load_pixels, path, force, file.name), path), header, source


def _study(identifier: str, image: Image, header: Header | None, source: str) -> Study:
    if header is None:
        return Study(identifier, (image,), source=source)
    return Study(
        identifier,
        (image,),
        patient=header.patient,
        indication=header.indication,
        age=header.age,
        sex=header.sex,
        site=header.site,
        date=header.date,
        source=source,
        meta=header.meta,
    )


def open_study(path: str | Path, *, force: bool = False, key: bytes = DEFAULT_KEY) -> Study:
    """Return the study in one DICOM or picture file, called like the file without its suffix.

    The pixels are decoded once to know that they can be; ``Image.pixels`` gives them.

    Parameters
    ----------
    path
        The file.
    force
        Open what would be refused, as long as it can be decoded; each objection becomes a note of the image.
    key
        Secret of the pseudonymous keys of patient and site (see ``wetread.studies.anonymise``).

    Raises
    ------
    MissingError
        When there is no such file; names the nearest one.
    Refused
        When the file must not be drafted (wrong anatomy, modality, colour, several frames).
    StudyError
        When the file cannot be read; or is a folder.
    """
    path = Path(path)
    _must_exist(path)
    image, header, source = _open(_File(path, path.name), force, key)
    return _study(_stem(path.name), image, header, source)


def _must_exist(path: Path) -> None:
    if path.exists():
        return
    raise MissingError(f"there is no file or folder {str(path)!r}.{_near(path)}")


def _near(path: Path) -> str:
    try:
        return nearest(path.name, [entry.name for entry in path.absolute().parent.iterdir()])
    except OSError:
        return " Its folder does not exist either."


def find_studies(
    paths: str | Path | Iterable[str | Path],
    *,
    force: bool = False,
    recursive: bool = True,
    key: bytes = DEFAULT_KEY,
) -> Iterator[Study | Problem]:
    """Return an iterator over the studies in files and folders; what gives no study comes as a ``Problem``.

    Folders are walked in sorted order; hidden files, other formats by their suffix, README, DICOMDIR and the like are
    passed over. A folder that holds ``studies.jsonl`` is read as a data set. DICOM files of one StudyInstanceUID, over
    all paths given, are one study, frontal first: PA, AP, unknown, lateral, then in the order found. One study is
    decoded at a time; before that only the headers are read.

    Parameters
    ----------
    paths
        One path or several.
    force
        As in ``open_study``.
    recursive
        Walk sub-folders too.
    key
        As in ``open_study``.

    Raises
    ------
    MissingError
        At once, before anything is read, when none of the paths exists; one among others is a ``Problem``.
    """
    several = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if several and not any(path.exists() for path in several):
        _must_exist(several[0])
    return _find(several, force, recursive, key)


def _find(paths: Sequence[Path], force: bool, recursive: bool, key: bytes) -> Iterator[Study | Problem]:
    files: list[_File] = []
    seen: set[Path] = set()
    times = Counter(path.name for path in paths)
    for path in paths:
        if not path.is_dir():
            # Two of one name are told apart by their folders.
            name = path.name if times[path.name] == 1 else f"{path.absolute().parent.name}/{path.name}"
            files.append(_File(path, name))
            continue
        found, data_sets, skipped = _walk(path, recursive)
        for folder in data_sets:
            yield from _data_set(folder, path)
        if not found and not data_sets:
            other = f" ({skipped} files of other kinds passed over)" if skipped else ""
            hint = "" if recursive else " or allow sub-folders"
            yield Problem(path.name or str(path), "failed", f"the folder holds no image files{other}; "
                          f"give a folder with DICOM or picture files{hint}.")  # fmt: skip
        files += found
    unique = []
    for file in files:
        real = file.path.resolve()
        if real not in seen:
            seen.add(real)
            unique.append(file)
    yield from _groups_opened(unique, force, key)


def _walk(root: Path, recursive: bool) -> tuple[list[_File], list[Path], int]:
    """Return the candidate files below a folder, the data sets in it, and how many files were passed over."""
    found: list[_File] = []
    data_sets: list[Path] = []
    skipped = 0
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith(".")) if recursive else []
        here = Path(folder)
        if "studies.jsonl" in names:
            data_sets.append(here)
            inner.clear()
            continue
        for name in sorted(names):
            relative = (here / name).relative_to(root).as_posix()
            if _is_passed_over(name):
                skipped += 1
                logger.debug("passed over: %s", relative)
            else:
                found.append(_File(here / name, relative))
    return found, data_sets, skipped


def _is_passed_over(name: str) -> bool:
    low = name.lower()
    return low.startswith(".") or Path(low).suffix in NOT_IMAGES or low.split(".")[0] in _NOT_IMAGE_NAMES


def _data_set(folder: Path, root: Path) -> Iterator[Study | Problem]:
    """Yield the studies of a folder that holds ``studies.jsonl``."""
    from wetread.studies.folder import read  # the other readers do not need it

    name = (folder.relative_to(root) / "studies.jsonl").as_posix()
    try:
        yield from read(folder)
    except Refused as error:
        yield Problem(name, "refused", str(error))
    except WetreadError as error:
        yield Problem(name, "failed", str(error))


def _groups_opened(files: Sequence[_File], force: bool, key: bytes) -> Iterator[Study | Problem]:
    """Group DICOM files by study from their headers, then open one group after the other."""
    groups: OrderedDict[str, list[tuple[View, _File]]] = OrderedDict()
    for place, file in enumerate(files):
        group = f"file {place}"
        view: View = "unknown"
        try:
            if _kind(file.path, file.name) == "dicom":
                header = peek(file.path, file.name, key=key)
                group, view = header.study or group, header.view
        except StudyError as error:
            # Told again, as a Problem, when its turn comes.
            logger.debug("not grouped: %s", error)
        groups.setdefault(group, []).append((view, file))
    names = _names([file.name for file in files])
    by_file = dict(zip(map(id, files), names, strict=True))
    for group, members in groups.items():
        members.sort(key=lambda member: FRONTAL_FIRST[member[0]])  # stable: the order found within a view
        yield from _group(group, [file for _, file in members], by_file, force, key)


def _names(names: Sequence[str]) -> list[str]:
    """Return one study name per file name, all different: the stem, else the whole name, else with a number.

    >>> _names(["a.png", "b.png", "b.jpg", "c", "c"])
    ['a', 'b.png', 'b.jpg', 'c', 'c#2']
    """
    stems = [_stem(name) for name in names]
    times = Counter(stems)
    chosen = [stem if times[stem] == 1 else name for stem, name in zip(stems, names, strict=True)]
    taken: set[str] = set()
    result = []
    for name in chosen:
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}#{number}"
        taken.add(free)
        result.append(free)
    return result


def _group(
    group: str, files: Sequence[_File], names: dict[int, str], force: bool, key: bytes
) -> Iterator[Study | Problem]:
    """Yield the study of one group, and a problem for each of its files that cannot be used."""
    opened: list[tuple[_File, Image, Header | None, str]] = []
    for file in files:
        try:
            opened.append((file, *_open(file, force, key)))
        except Refused as error:
            yield Problem(file.name, "refused", _without_name(str(error), file.name))
        except StudyError as error:
            yield Problem(file.name, "failed", _without_name(str(error), file.name))
    if not opened:
        return
    file, image, header, source = opened[0]
    if len(opened) == 1:
        yield _study(names[id(file)], image, header, source)
        return
    first = replace(
        image, notes=(*image.notes, f"First of {len(opened)} images of the study (order: PA, AP, unknown, lateral).")
    )
    study = _study(group, first, header, source)
    images = (first, *(other for _, other, _, _ in opened[1:]))
    headers = [found for _, _, found, _ in opened if found]
    yield replace(
        study,
        images=images,
        indication=next((found.indication for found in headers if found.indication), ""),
        age=next((found.age for found in headers if found.age is not None), None),
        sex=next((found.sex for found in headers if found.sex != "unknown"), "unknown"),
    )


def _without_name(message: str, name: str) -> str:
    """Return a message without the file name in front, which the problem holds by itself."""
    return message.removeprefix(f"{name}: ")
