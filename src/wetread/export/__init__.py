"""How a report leaves the house: text, Markdown, HTML, PDF, FHIR, DICOM Structured Report and Encapsulated PDF.

Every form is a function of a document (``records.Document``) and of the patient and study that it belongs to
(``header.StudyHeader``), and returns bytes: what writes files, and what sends them to an archive, call the same. The same
document gives the same bytes and the same UIDs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from wetread.registry import Registry

if TYPE_CHECKING:
    from wetread.export.header import StudyHeader
    from wetread.records import Document

Form = Callable[["Document", "StudyHeader"], bytes]
"""Makes one file of a report."""

FORMS = Registry(
    "form of a report",
    {
        "fhir.json": "wetread.export.forms:fhir_r4",
        "fhir-r5.json": "wetread.export.forms:fhir_r5",
        "sr.dcm": "wetread.export.dicom_sr:as_sr",
        "pdf": "wetread.export.forms:pdf",
        "pdf.dcm": "wetread.export.dicom_pdf:as_dicom_pdf",
        "txt": "wetread.export.forms:text",
        "md": "wetread.export.forms:markdown",
        "html": "wetread.export.forms:html",
    },
)
"""Suffix of a file to the ``Form`` that makes it."""
FORMATS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "fhir": ("fhir.json",),
    "fhir-r5": ("fhir-r5.json",),
    "sr": ("sr.dcm",),
    "pdf": ("pdf", "pdf.dcm"),
    "text": ("txt",),
    "markdown": ("md",),
    "html": ("html",),
})  # fmt: skip
"""What may be asked for, to the suffixes of the files that it gives."""

__all__ = ["FORMATS", "FORMS", "Form"]
