"""A report on its way out of the house: what it says, who wrote it, and who has verified it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from wetread.errors import UsageError
from wetread.records.report import Finding, Report
from wetread.records.study import Image, Sex

UNVERIFIED = "AI draft, not verified"
"""What every report says of itself until somebody signs it."""
NOTICE = f"{UNVERIFIED}. Research use only: a radiologist must read the images and correct it."
"""Stands on every draft that leaves the house."""


@dataclass(frozen=True)
class Signature:
    """Who has verified a report, and when."""

    signer: str
    """Name: ``Family, Given``, ``Family^Given`` as DICOM writes it, or any other form, which is then taken as it stands."""
    time: str
    """When, ISO 8601 with its offset from UTC: ``2027-01-05T14:30:00+01:00``."""
    organization: str = ""
    """Where the signer is accountable; empty when it is not stated."""
    identifier: str = ""
    """Number of the signer at the organization; empty when it is not stated."""
    changed: bool = False
    """Whether the report differs from what the model wrote."""

    def __post_init__(self) -> None:
        if not self.person_name.strip("^ "):
            raise UsageError("a signature without a name; give the name of who verified the report.")
        moment(self.time, "time of a signature")

    @property
    def name(self) -> str:
        """The name for people.

        >>> Signature("Doe^Jane", "2027-01-05T14:30:00Z").name
        'Jane Doe'
        """
        family, given, middle, prefix, suffix = ([*self.person_name.split("^"), "", "", "", ""])[:5]
        said = " ".join(part for part in (prefix, given, middle, family) if part.strip())
        return f"{said}, {suffix}" if suffix.strip() else said

    @property
    def person_name(self) -> str:
        """The name as DICOM's value representation PN has it, one group of at most five components.

        >>> Signature("Doe, Jane", "2027-01-05T14:30:00Z").person_name
        'Doe^Jane'
        """
        plain = "".join(char if char.isprintable() and char not in "\\=" else " " for char in self.signer)
        plain = " ".join(plain.split())
        if "^" not in plain and plain.count(", ") == 1:
            plain = "^".join(plain.split(", "))
        parts = [part.strip() for part in plain.split("^")[:5]]
        return "^".join(parts if len(parts) > 1 else [*parts, ""])[:64]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "signer": self.signer,
            "time": self.time,
            "organization": self.organization,
            "identifier": self.identifier,
            "changed": self.changed,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Signature:
        """Return the signature that ``to_json`` wrote."""
        return cls(
            signer=data["signer"],
            time=data["time"],
            organization=data.get("organization", ""),
            identifier=data.get("identifier", ""),
            changed=bool(data.get("changed", False)),
        )


@dataclass(frozen=True)
class Document:
    """One study's report with everything that an exported file says about it, but for what its DICOM header says."""

    study: str
    """Key of the study; files are named by it."""
    report: Report
    """The report."""
    model: str
    """Name of the model that drafted it."""
    version: str
    """Version of the model: what its drafts depend on. The same study and version are the same export."""
    drafted: str
    """When it was drafted, ISO 8601 with its offset from UTC."""
    findings: tuple[Finding, ...] = ()
    """What the report claims, with the evidence's place in ``report.text``."""
    withdrawn: tuple[Finding, ...] = ()
    """What the draft claimed and the signed report does not."""
    modality: str = "chest_xray"
    """Which knowledge file speaks of it."""
    images: tuple[Image, ...] = ()
    """The images it was drafted from; names and views are shown."""
    age: int | None = None
    """Age in whole years, where it is to be shown."""
    sex: Sex = "unknown"
    """Sex, where it is to be shown."""
    indication: str = ""
    """Why the examination was asked for, where it is to be shown."""
    comparison: str = ""
    """What it was compared with, where it is to be shown."""
    notes: tuple[str, ...] = ()
    """What a reader should know: what was odd about images or draft."""
    complete: bool = True
    """Whether the model came to an end; False: the length limit cut it."""
    digest: str = ""
    """What the draft was made from, as hex digits; tells two studies of one name apart."""
    signature: Signature | None = field(default=None)
    """Who verified it; None: it is a draft."""

    def __post_init__(self) -> None:
        moment(self.drafted, "time of a draft")

    @property
    def status(self) -> str:
        """The status in words."""
        return f"Verified by {self.signature.name}" if self.signature else UNVERIFIED

    @property
    def time(self) -> str:
        """When it became what it is: signed, or else drafted."""
        return self.signature.time if self.signature else self.drafted

    @property
    def author(self) -> str:
        """The model with its version, in words."""
        return f"{self.model}, version {self.version}" if self.version else self.model

    def sign(
        self, signature: Signature, report: Report | None = None, findings: tuple[Finding, ...] | None = None
    ) -> Document:
        """Return the same document, verified.

        Parameters
        ----------
        signature
            Who and when; ``changed`` is set here.
        report, findings
            The corrected report and what it claims; None: as drafted. Both or none are given.

        Raises
        ------
        UsageError
            It is signed already, or is a corrected report without its findings.
        """
        if self.signature is not None:
            raise UsageError("the report is signed already; sign the draft that it came from.")
        if (report is None) != (findings is None):
            raise UsageError("a corrected report and its findings go together; give both or none.")
        if report is None or findings is None or report == self.report:
            return replace(self, signature=replace(signature, changed=False))
        stated = {_claim(one) for one in findings}
        gone = tuple(one for one in self.findings if _claim(one) not in stated)
        return replace(
            self,
            report=report,
            findings=findings,
            withdrawn=gone,
            complete=True,
            signature=replace(signature, changed=True),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "study": self.study,
            "report": self.report.to_json(),
            "model": self.model,
            "version": self.version,
            "drafted": self.drafted,
            "findings": [one.to_json() for one in self.findings],
            "withdrawn": [one.to_json() for one in self.withdrawn],
            "modality": self.modality,
            "images": [image.to_json() for image in self.images],
            "age": self.age,
            "sex": self.sex,
            "indication": self.indication,
            "comparison": self.comparison,
            "notes": list(self.notes),
            "complete": self.complete,
            "digest": self.digest,
            "signature": self.signature.to_json() if self.signature else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Document:
        """Return the document that ``to_json`` wrote."""
        signature = data.get("signature")
        return cls(
            study=data["study"],
            report=Report.from_json(data["report"]),
            model=data["model"],
            version=data["version"],
            drafted=data["drafted"],
            findings=tuple(Finding.from_json(one) for one in data.get("findings", ())),
            withdrawn=tuple(Finding.from_json(one) for one in data.get("withdrawn", ())),
            modality=data.get("modality", "chest_xray"),
            images=tuple(Image.from_json(one) for one in data.get("images", ())),
            age=data.get("age"),
            sex=data.get("sex", "unknown"),
            indication=data.get("indication", ""),
            comparison=data.get("comparison", ""),
            notes=tuple(data.get("notes", ())),
            complete=bool(data.get("complete", True)),
            digest=data.get("digest", ""),
            signature=Signature.from_json(signature) if signature else None,
        )


def moment(time: str, what: str = "time") -> datetime:
    """Return a time with its offset as UTC.

    Raises
    ------
    UsageError
        It is no ISO 8601 time, or has no offset.

    >>> moment("2027-01-05T14:30:00+01:00").hour
    13
    """
    try:
        found = datetime.fromisoformat(time)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise UsageError(
        f"the {what} is {time[:40]!r}; write it with its offset from UTC, such as 2027-01-05T14:30:00+00:00."
    )


def _claim(finding: Finding) -> tuple[str, str, str]:
    """What makes two findings of one study the same thing, whatever is said of it."""
    return finding.name, finding.side, finding.location
