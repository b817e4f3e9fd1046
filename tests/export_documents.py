"""Documents, headers and texts that the tests of exports share. Every patient in them is invented."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from wetread.export.header import StudyHeader, header_of
from wetread.knowledge import extract
from wetread.records import Document, Image, Report, Signature

REPORT = Report(
    "The heart is mildly enlarged. There is a small left pleural effusion, increased since the prior. "
    "Right lower lobe consolidation, possibly pneumonia. No pneumothorax. "
    "An endotracheal tube lies 4 cm above the carina.",
    "1. Right lower lobe consolidation.\n2. Small left pleural effusion, larger than before.",
)
CORRECTED = Report("Clear lungs. Small left pleural effusion.", "Small left pleural effusion.")
SIGNATURE = Signature("Doe, Jane", "2027-01-06T09:00:00+01:00", "Example Hospital", "staff-1")
STUDY_UID = "1.2.826.0.1.3680043.8.498.1"

AWKWARD = (
    "", " \n\t ", "\x00\x07\x1b[31m", "line one\r\nline two\rline three\x0bfour", "a\u2028b\u0085c", "\ud800 half",
    "<script>alert(1)</script> & \"quotes\" 'n' </p>", "# no heading\n- no list\n1. no item\n> no quote\n    no code",
    "*a* _b_ `c` [d](e) ![f](g) | ~~h~~ $i$ &amp; <http://j> \\", "\u4e2d\u6587 \u05e2\u05d1\u05e8\u05d9\u05ea \U0001f600 e\u0301",
    "word " * 3000, "x" * 5000, "\u202eright to left\u202c", "\\backslash^caret=equals", "]]>", "\ufffe\uffff", "a\n\n\n\nb",
)  # fmt: skip
"""Texts that break what is careless with them."""

texts = st.one_of(
    st.sampled_from(AWKWARD),
    st.text(max_size=200),
    st.text(st.sampled_from("ab \n\t\r\x00*_#<&>[]\\`|-1.\u00e9\u4e2d\U0001f600"), max_size=200),
)
"""Any text that a report may hold."""


def document(report: Report = REPORT, **fields: object) -> Document:
    """A draft of two images, with what its report claims."""
    given = {
        "study": "ward/film1",
        "model": "demo",
        "version": "3f2a91c07b5d4e10",
        "drafted": "2027-01-05T21:05:00+00:00",
        "findings": tuple(extract(report)),
        "images": (Image("film1.dcm", "PA"), Image("film2.dcm", "lateral")),
        "digest": "ab12",
    }
    return Document(report=report, **(given | fields))  # type: ignore[arg-type]


def signed() -> Document:
    """The draft, corrected and signed."""
    return document().sign(SIGNATURE, CORRECTED, tuple(extract(CORRECTED)))


def dataset(**elements: object) -> Dataset:
    """The header of an image; an element that is given as None is left out."""
    given = {
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientName": "Phantom^Nobody",
        "PatientID": "PHANTOM-1",
        "IssuerOfPatientID": "Example Hospital",
        "PatientBirthDate": "19701231",
        "PatientSex": "F",
        "StudyInstanceUID": STUDY_UID,
        "StudyDate": "20270105",
        "StudyTime": "101500",
        "AccessionNumber": "ACC-1",
        "ReferringPhysicianName": "Example^Referrer",
        "StudyID": "7",
        "StudyDescription": "XR CHEST",
        "SOPClassUID": ComputedRadiographyImageStorage,
        "SOPInstanceUID": f"{STUDY_UID}.1.1",
        "SeriesInstanceUID": f"{STUDY_UID}.1",
    }
    made = Dataset()
    for keyword, value in (given | elements).items():
        if value is not None:
            setattr(made, keyword, value)
    return made


def header(of: Document | None = None, **elements: object) -> StudyHeader:
    """What goes from that header into exports."""
    return header_of(of or document(), [dataset(**elements)])


def program(name: str, package: str) -> str:
    """Where a system program is; the test is skipped without it, but never in continuous integration."""
    found = shutil.which(name)
    if found is None:
        said = f"{name} is not here; install it: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    return found


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program and return what it said."""
    return subprocess.run([str(one) for one in command], capture_output=True, text=True, timeout=120, errors="replace")
