"""Identifiers that are the same whenever the same thing is exported: for one study, one version of a model, one signature."""

from __future__ import annotations

import uuid

from wetread.records import Document

_SPACE = uuid.UUID("6f0b3c1e-5d0a-5b57-9a52-0c8a3b3d7e11")
"""Namespace of all identifiers of this program; another value would make all of them others."""


def uuid_of(*parts: str) -> uuid.UUID:
    """Return the UUID (version 5) that stands for ``parts``; the same parts give the same one everywhere."""
    name = (
        "\0".join(parts).encode("utf-8", "backslashreplace").decode()
    )  # names of files may hold half a surrogate pair
    return uuid.uuid5(_SPACE, name)


def uid_of(*parts: str) -> str:
    """Return a DICOM UID for ``parts``: ``2.25.`` and the UUID as a decimal number (PS3.5 B.2), at most 44 characters.

    >>> uid_of("study", "film1") == uid_of("study", "film1") != uid_of("series", "film1")
    True
    """
    return f"2.25.{uuid_of(*parts).int}"


def report_parts(document: Document, study_uid: str) -> tuple[str, ...]:
    """Return what makes a report the one it is, draft or signed: the study and the version of the model."""
    return study_uid, document.model, document.version


def instance_parts(document: Document, study_uid: str) -> tuple[str, ...]:
    """Return what makes a DICOM object of a report the one it is: a signed report is another object than its draft."""
    signed = document.signature
    state = ("signed", signed.signer, signed.time) if signed else ("draft",)
    return (*report_parts(document, study_uid), *state)
