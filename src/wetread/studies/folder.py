"""A data set as a folder: ``studies.jsonl``, one study a line, and the images that the lines name.

The file is append-only. A line is written once the study's images are on disk, so whatever is listed is complete, and a
writing that was killed is continued by cutting off the last line when it is only half there.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from os import SEEK_END
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Self

import numpy as np
from PIL import Image as PilImage

from wetread.errors import MissingError, RunError, StudyError, UsageError, WetreadWarning
from wetread.records import Image, Pixels, Study

LIST = "studies.jsonl"
"""Name of the list of studies within its folder."""
DICOM = (".dcm", ".dicom")
"""Suffixes of DICOM files; every other file is a picture."""
DEEP = ".deep"
"""Ends the name, before its suffix, of a picture with more than 8 bits whose values do not fill their depth."""
ENDS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}
"""What whole pictures have at their end."""
READERS = 16
"""Files that are looked at at once; on network disks each waits."""


class StudyLog:
    """Appends studies to a folder's list; a context manager.

    On entering, a last line without its line break (the process was killed while it wrote) is cut off, and ``ids`` holds
    the ids that are there already.
    """

    def __init__(self, folder: Path | str) -> None:
        self.path = Path(folder) / LIST
        self.ids: list[str] = []
        """Ids of the studies that are listed, in order."""
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._file = self.path.open("a+b")
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            self.ids.append(_id_of(line, number, self.path))
        self._file.truncate(whole)
        return self

    def append(self, study: Study) -> None:
        """Write one study's line and hand it to the operating system, so that it outlives a kill of this process."""
        if self._file is None:
            raise RunError(f"{self.path.name}: the list is not open; use the log in a with statement.")
        line = json.dumps(study.to_json(), ensure_ascii=False, separators=(",", ":"))
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        self.ids.append(study.id)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _id_of(line: bytes, number: int, path: Path) -> str:
    try:
        return str(json.loads(line)["study"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path.name} line {number}: not a study; the list is damaged, choose another folder."
        ) from error


def read(path: Path | str) -> list[Study]:
    """Return the studies of a folder in the order of its list; pixels are read from their files when asked for.

    Parameters
    ----------
    path
        The folder, or its ``studies.jsonl``.

    Raises
    ------
    MissingError
        When there is no list.
    StudyError
        When a line is not a study, an id occurs twice, or an image name leads out of the folder.

    Warns
    -----
    WetreadWarning
        When the last line is only half there, as after a kill; it is left out.
    """
    return list(iterate(path))


def iterate(path: Path | str) -> Iterator[Study]:
    """Yield what ``read`` returns, one study at a time."""
    for number, found in scan(path):
        if found is None:
            warnings.warn(
                f"{LIST} line {number} is half written and left out; run the writing again to complete it.",
                WetreadWarning,
                stacklevel=2,
            )
            return
        if isinstance(found, StudyError):
            raise found
        yield found


def scan(path: Path | str) -> Iterator[tuple[int, Study | StudyError | None]]:
    """Yield every line's number with its study, the error where it is none, or None for a half-written last line.

    Raises
    ------
    MissingError
        When there is no list.
    """
    path = Path(path)
    listing = path if path.name == LIST else path / LIST
    if not listing.is_file():
        raise MissingError(
            f"no {LIST} in {path}. Make phantom studies with `wetread phantom --out {path} --studies 2000`, or name another folder."
        )
    seen: set[str] = set()
    with listing.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                yield number, None
                return
            try:
                study = attach(_study(line, number), listing.parent)
                if study.id in seen:
                    raise StudyError(
                        f"{LIST} line {number}: the study {study.id} is listed twice; remove one of the lines."
                    )
            except StudyError as error:
                yield number, error
                continue
            seen.add(study.id)
            yield number, study


def choose(studies: Iterable[Study], split: str, limit: int = 0) -> list[Study]:
    """Return the studies of a split that have a reference report, the first ``limit`` of them; 0: all.

    Raises
    ------
    UsageError
        When there is none; names the splits that exist.
    """
    every = list(studies)
    chosen = [study for study in every if study.split == split and study.report]
    if not chosen:
        have = ", ".join(sorted({study.split or "(none)" for study in every})) or "no studies at all"
        raise UsageError(f"no study with a report in split {split!r}; the data has: {have}.")
    return chosen[:limit] if limit else chosen


def check_shown(studies: Iterable[Study]) -> None:
    """Refuse studies without an image, of which a model would be shown nothing (``StudyError``; names the first)."""
    bare = [study.id for study in studies if not study.images]
    if bare:
        many = f"{len(bare)} studies have no image, the first {bare[0]}; " if len(bare) > 1 else ""
        raise StudyError(f"{many or f'the study {bare[0]} has no image; '}list its images in {LIST}, or leave it out.")


def _study(line: bytes, number: int) -> Study:
    try:
        return Study.from_json(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(
            f"{LIST} line {number}: not a study ({type(error).__name__}: {error}); every line is the JSON of one study."
        ) from error


def attach(study: Study, root: Path) -> Study:
    """Return the study with its images, and those of its prior, reading their pixels from files under ``root``."""
    images = tuple(_attach(image, root) for image in study.images)
    if study.prior is None:
        return replace(study, images=images)
    prior = replace(study.prior, images=tuple(_attach(image, root) for image in study.prior.images))
    return replace(study, images=images, prior=prior)


def _attach(image: Image, root: Path) -> Image:
    name = PurePosixPath(image.name)
    if name.is_absolute() or ".." in name.parts or "\\" in image.name:
        raise StudyError(f"{LIST}: the image name {image.name!r} leads out of the folder; names are relative to it.")
    return replace(image, load=partial(load_pixels, root, image.name), file=root / image.name)


def unreadable(shown: Iterable[tuple[str, Image]]) -> tuple[int, list[tuple[str, Image]]]:
    """Return how many files images are read from, and those that cannot be read, each with the study that it came with.

    Every file is opened and its beginning and end are looked at, which takes well under a millisecond; only what looks
    wrong is decoded. Damage in the middle of a file is not seen. Images that come from elsewhere are passed over.

    Parameters
    ----------
    shown
        Study and image; of several with one file the first counts.
    """
    files: dict[Path, tuple[str, Image]] = {}
    for one in shown:
        path = one[1].file
        if path is not None:
            files.setdefault(path, one)
    PilImage.init()  # not in the threads: it imports
    every = list(files)
    with ThreadPoolExecutor(READERS) as pool:
        parts = pool.map(_odd, (every[start : start + 256] for start in range(0, len(every), 256)))
        odd = [path for part in parts for path in part]
    return len(every), [files[path] for path in odd if not _decodes(files[path][1])]


def _odd(paths: Iterable[Path]) -> list[Path]:
    """Return the files that do not look like what they should be."""
    return [path for path in paths if not _looks_whole(path)]


def _looks_whole(path: Path) -> bool:
    from wetread.studies.dicom import looks_like_dicom

    try:
        with path.open("rb") as file:
            if path.suffix.lower() in DICOM:
                return looks_like_dicom(file.read(132))
            with PilImage.open(file) as picture:
                mark = ENDS.get(picture.format or "")
                file.seek(-min(64, path.stat().st_size), SEEK_END)
                return mark is None or mark in file.read()
    except Exception:  # damaged files fail in many ways; decoding will say which
        return False


def _decodes(image: Image) -> bool:
    try:
        image.pixels()
    except StudyError:
        return False
    return True


def load_pixels(root: Path, name: str) -> Pixels:
    """Return the grey values of one image file, shape (rows, columns), float32 in 0..1, bright = dense.

    PNG and other pictures are divided by the greatest value of their depth, so that what was written is what is read;
    DICOM goes through rescale, window and photometric interpretation. A picture whose name ends in ``.deep`` before its suffix
    holds values of a detector that do not fill their depth: it is scaled as ``studies.open_study`` scales it.

    Raises
    ------
    StudyError
        When the file is missing or cannot be decoded.
    """
    path = root / name
    if path.suffix.lower() in DICOM:
        from wetread.studies.dicom import read_dicom  # pydicom is slow to import

        return read_dicom(path, name=name).pixels
    if path.stem.endswith(DEEP):
        from wetread.studies.pictures import read_picture  # the other pictures do not need it

        return read_picture(path, name=name, force=True).pixels
    try:
        with PilImage.open(path) as picture:
            deep = picture.mode in ("I;16", "I;16B", "I")
            values = np.asarray(picture if deep or picture.mode == "L" else picture.convert("L"), dtype=np.float32)
    except FileNotFoundError as error:
        raise StudyError(f"{name}: the image is listed but not there; write the data set again.") from error
    except (OSError, ValueError) as error:
        raise StudyError(f"{name}: the image cannot be decoded; write the data set again.") from error
    return values / np.float32(65535.0 if deep else 255.0)


def write(folder: Path | str, studies: Iterable[Study]) -> int:
    """Write studies with their pixels as 16-bit PNG, and return how many were written; those listed already are kept.

    Image files are named after the study (``images/<study>-<number>.png``). The images of a prior are written too, unless
    the prior is itself a study of the folder.

    Raises
    ------
    RunError
        When the folder cannot be written.
    """
    folder = Path(folder)
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        with StudyLog(folder) as log:
            done = set(log.ids)
            made = 0
            for study in studies:
                if study.id in done:
                    continue
                log.append(_save(study, folder))
                done.add(study.id)
                made += 1
            return made
    except OSError as error:
        raise RunError(f"{folder.name}: cannot be written ({error.strerror}); free space or choose another.") from error


def _save(study: Study, folder: Path) -> Study:
    saved = replace(study, images=_save_images(study.id, study.images, folder))
    if study.prior is not None:
        images = _save_images(study.prior.study, study.prior.images, folder)
        saved = replace(saved, prior=replace(study.prior, images=images))
    return saved


def _save_images(study: str, images: tuple[Image, ...], folder: Path) -> tuple[Image, ...]:
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in study)
    saved = []
    for number, image in enumerate(images):
        name = f"images/{stem}-{number}.png"
        path = folder / name
        if not path.exists():
            grey = np.asarray(np.clip(image.pixels(), 0.0, 1.0) * 65535.0 + 0.5, dtype=np.uint16)
            part = path.with_suffix(".part")
            PilImage.fromarray(grey).save(part, "PNG")
            part.replace(path)
        saved.append(replace(image, name=name))
    return tuple(saved)
