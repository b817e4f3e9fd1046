"""Exports: from draft records to files that hospitals' systems read. A study that cannot be exported never ends a batch."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wetread.errors import StudyError, UsageError, WetreadError, nearest
from wetread.export import FORMATS, FORMS
from wetread.records import Document, Image, Study
from wetread.runs.draft import Context, DraftRecord
from wetread.runs.store import write_atomic
from wetread.studies import Problem

LONGEST_NAME = 200
"""Most bytes of a part of a file's name, without its suffix; file systems take 255."""
_ODD = re.compile(r"[^\w .,+=@~#-]+")


@dataclass(frozen=True)
class Exported:
    """What became of one study's export."""

    study: str
    """Key of the study."""
    files: tuple[Path, ...] = ()
    """The files that were written."""
    problems: tuple[str, ...] = ()
    """What was not written and why, a line each."""
    notes: tuple[str, ...] = ()
    """What is odd about the files: elements of the header that were left out; never a value."""


def parse_formats(asked: str) -> tuple[str, ...]:
    """Return the formats that a list with commas names, in the order of ``FORMATS``.

    Raises
    ------
    UsageError
        One of them is not known, or there is none.

    >>> parse_formats("sr,fhir")
    ('fhir', 'sr')
    """
    names = [name.strip() for name in asked.split(",") if name.strip()]
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"unknown --export {name!r}.{nearest(name, FORMATS)} Allowed: {', '.join(FORMATS)}.")
    if not names:
        raise UsageError(f"--export names no format. Allowed: {', '.join(FORMATS)}.")
    return tuple(name for name in FORMATS if name in names)


def stem_of(study: str) -> str:
    """Return how the files of a study are called, without their suffixes; folders of its key stay folders.

    What file systems do not take, and what would lead out of the folder, is replaced; the name then ends in hex digits of
    the key, so that no two keys meet in one file.

    >>> stem_of("ward3/film")
    'ward3/film'
    >>> stem_of("../film?")
    '_/film_~8431dce7'
    """
    parts = [_ODD.sub("_", part).encode()[:LONGEST_NAME].decode(errors="ignore") for part in study.split("/")]
    stem = "/".join(part.strip(". ") or "_" for part in parts)
    mark = hashlib.blake2b(study.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return stem if stem == study else f"{stem}~{mark}"


def document_of(record: DraftRecord, study: Study | None, version: str, context: Context | None = None) -> Document:
    """Return a draft as a document.

    Indication and comparison are those of ``context`` alone: free text of a header may name people.

    Parameters
    ----------
    record
        A record whose status is ``drafted``.
    study
        The study that was drafted, with its images; None where it is not at hand.
    version
        Version of the model (``models.version``).
    context
        What the caller told of the study.
    """
    told = context or Context()
    notes = [note for image in record.images for note in image["notes"]]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Document(
        study=record.study,
        report=record.report,
        model=record.model,
        version=version,
        drafted=record.drafted or now,
        findings=record.perception,
        modality=study.modality if study else "chest_xray",
        images=study.images if study else tuple(map(Image.from_json, record.images)),
        age=told.age if told.age is not None or study is None else study.age,
        sex=told.sex or (study.sex if study else "unknown"),
        indication=told.indication or "",
        comparison=told.comparison or "",
        notes=tuple(dict.fromkeys([record.reason, *notes] if record.reason else notes)),
        complete=not record.reason.startswith("the draft is truncated"),
        digest=record.digest,
    )


def header_for(document: Document, study: Study | None) -> Any:
    """Return the patient and the study of a document (``export.header.StudyHeader``), read from its files now.

    Raises
    ------
    StudyError
        A file is gone or cannot be read any more.
    """
    from wetread.export.header import KEYWORDS, header_of
    from wetread.studies.dicom import read_elements

    files = [(image.file, image.name) for image in study.images if image.file] if study else []
    found = [read_elements(file, name, list(KEYWORDS)) for file, name in files]
    return header_of(document, [header for header in found if header is not None])


def write(document: Document, header: Any, folder: Path, formats: Sequence[str], stem: str = "") -> Exported:
    """Write a document in each format; one that fails does not keep the others from being written.

    Parameters
    ----------
    document, header
        As ``document_of`` and ``header_for`` return them; signed or not.
    folder
        Where to; made if it is not there.
    formats
        Names of ``FORMATS``.
    stem
        Name of the files without suffix; that of the study by default.
    """
    stem = stem or stem_of(document.study)
    files, problems = [], []
    for suffix in (suffix for name in formats for suffix in FORMATS[name]):
        path = folder / f"{stem}.{suffix}"
        try:
            content = FORMS[suffix](document, header)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, content)
            files.append(path)
        except OSError as error:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                path.with_name(path.name + ".part").unlink(missing_ok=True)
            problems.append(f"{path.name} cannot be written ({error.strerror or type(error).__name__}).")
        except WetreadError as error:
            problems.append(f"{path.name} cannot be made: {error}")
        except Exception as error:  # whatever one study holds, the next must get its files
            problems.append(
                f"{path.name} cannot be made ({type(error).__name__}); report it, this is a fault in wetread."
            )
    return Exported(document.study, tuple(files), tuple(problems), tuple(getattr(header, "notes", ())))


class Exporter:
    """Exports drafts while they are made: remembers each study until its record comes.

    Parameters
    ----------
    folder
        Where the files go.
    formats
        Names of ``FORMATS``.
    version
        Version of the model.
    context
        What the caller told of all studies.
    """

    def __init__(self, folder: Path, formats: Sequence[str], version: str, context: Context | None = None) -> None:
        self.folder = folder
        self.formats = tuple(formats)
        self.version = version
        self.context = context
        self._studies: dict[str, deque[Study]] = defaultdict(deque)
        self._stems: dict[str, int] = {}

    def watch(self, items: Iterable[Study | Problem]) -> Iterator[Study | Problem]:
        """Yield the items as they come."""
        for item in items:
            if isinstance(item, Study):
                self._studies[item.id].append(item)
            yield item

    def document(self, record: DraftRecord, study: Study | None = None) -> Document:
        """Return a record's document, for what is shown and not written."""
        return document_of(record, study, self.version, self.context)

    def export(self, record: DraftRecord) -> Exported:
        """Write one record's files; without effect for what was not drafted. Records come in the order of their studies."""
        held = self._studies.get(record.study)
        study = held.popleft() if held else None
        if not held:
            self._studies.pop(record.study, None)
        if record.status != "drafted" or not self.formats:
            return Exported(record.study)
        document = self.document(record, study)
        try:
            header = header_for(document, study)
        except StudyError as error:
            return Exported(record.study, problems=(f"nothing is exported: {error}",))
        return write(document, header, self.folder, self.formats, self._stem(record.study))

    def _stem(self, study: str) -> str:
        """Return a stem that no study before has: two data sets may call a study the same."""
        stem = stem_of(study)
        self._stems[stem] = self._stems.get(stem, 0) + 1
        return stem if self._stems[stem] == 1 else f"{stem}~{self._stems[stem]}"
