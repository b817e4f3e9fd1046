"""What the readers of data sets share: where a set lies, what a row gives, and what is known of a set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wetread.errors import UsageError
from wetread.records import Report, Study


def as_findings(text: str) -> Report:
    """Return a report whose findings are the text as it stands."""
    return Report(findings=text)


@dataclass(frozen=True)
class Place:
    """Where a data set lies, and how its texts are read."""

    root: Path
    """The folder or file that the user names."""
    images: Path | None = None
    """Folder of the images, where they lie elsewhere."""
    reports: Path | None = None
    """Folder or archive of the reports, where they lie elsewhere (MIMIC-CXR)."""
    splits: Path | None = None
    """File that says the split of each study, in place of the set's own."""
    language: str = "en"
    """Language of the reports, where the set has several."""
    look: bool = True
    """Whether images are looked for; without, reports come alone."""
    read: Callable[[str], Report] = as_findings
    """Makes a report of one text that may have section headers."""


@dataclass(frozen=True)
class Found:
    """One row: a study, or a part of one whose other images come in other rows."""

    study: Study
    """The study with the set's own ids; its images are named as the set names them. Identifiers are replaced later."""
    files: tuple[Path | None, ...] = ()
    """File of each image, in the order of ``study.images``; None where it was not found. Whether it is there is looked at later."""
    prior_files: tuple[Path | None, ...] = ()
    """File of each image of ``study.prior``, where the set names the prior."""
    where: str = ""
    """Where the row is: file and line, never an identifier."""


@dataclass(frozen=True)
class Dropped:
    """One row that gives no study."""

    reason: str
    """Why, in words that rows share, so that they can be counted."""
    where: str = ""
    """Where the row is: file and line, never an identifier."""
    study: str = ""
    """The set's own id of the study, where it is known."""
    detail: str = ""
    """What more can be said, without identifiers."""


Row = Found | Dropped


@dataclass(frozen=True)
class Opened:
    """A data set whose layout has been found."""

    layout: str
    """Which layout it is, in words."""
    rows: Callable[[], Iterator[Row]]
    """Reads it from the beginning, one row at a time."""
    listings: tuple[Path, ...] = ()
    """Files that say what is in the set; another import is one of others."""
    total: int = 0
    """Rows, where they can be told beforehand."""


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set: how to open it, and what every user asks."""

    name: str
    """Name on the command line."""
    title: str
    """Name of the collection, which is the ``source`` of its studies: keys of patients are told apart by it."""
    open: Callable[[Place], Opened]
    """Finds the layout; ``StudyError`` says what was looked for and what is there."""
    reference: str
    """Which text is the reference report."""
    context: str
    """Which text is the indication and which the comparison."""
    splits: str
    """Where splits come from."""
    priors: str
    """What orders a patient's studies."""
    dropped: str
    """What is not taken over, and which studies are left out."""
    images: str
    """Pattern of the image files, for messages."""
    twice: Literal["drop", "first"] = "drop"
    """What becomes of a study whose rows have different reports: left out, or the first report stands."""
    modality: str = "chest_xray"
    """Which knowledge file speaks of it."""
    languages: tuple[str, ...] = ("en",)
    """Languages that its reports come in."""
    reports_elsewhere: bool = False
    """Whether its reports may lie in another folder than what else there is."""
    key: Callable[[str], str] = str.strip
    """Makes its id of a study of the one in a file of splits."""

    def check(self, place: Place) -> None:
        """Refuse options that this set has no use for (``UsageError``)."""
        if place.language not in self.languages:
            raise UsageError(f"--language {place.language}: {self.title} has {' and '.join(self.languages)}.")
        if place.reports is not None and not self.reports_elsewhere:
            raise UsageError(f"--reports: the reports of {self.title} lie in PATH; leave the option out.")
