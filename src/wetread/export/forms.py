"""The forms of a report that need no header, or a release, as functions of document and header like all others."""

from __future__ import annotations

from wetread.export import fhir
from wetread.export.header import StudyHeader
from wetread.export.pdf import as_pdf
from wetread.export.text import as_html, as_markdown, as_text
from wetread.records import Document


def fhir_r4(document: Document, header: StudyHeader) -> bytes:
    """Return the FHIR R4 Bundle."""
    return fhir.as_fhir(document, header, "R4")


def fhir_r5(document: Document, header: StudyHeader) -> bytes:
    """Return the FHIR R5 Bundle."""
    return fhir.as_fhir(document, header, "R5")


def pdf(document: Document, header: StudyHeader) -> bytes:
    """Return the PDF; nothing of the header is in it."""
    return as_pdf(document)


def text(document: Document, header: StudyHeader) -> bytes:
    """Return the plain text in UTF-8; nothing of the header is in it."""
    return as_text(document).encode()


def markdown(document: Document, header: StudyHeader) -> bytes:
    """Return the Markdown in UTF-8; nothing of the header is in it."""
    return as_markdown(document).encode()


def html(document: Document, header: StudyHeader) -> bytes:
    """Return the HTML page in UTF-8; nothing of the header is in it."""
    return as_html(document).encode()
