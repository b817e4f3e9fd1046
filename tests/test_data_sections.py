"""Sections of MIMIC-CXR's texts by the official rules, and what cells mean: any text is read, nothing is made up."""

from __future__ import annotations

import datetime
import hashlib
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wetread.errors import UsageError
from wetread.records import Report
from wetread.studies.anonymise import shifted
from wetread.studies.datasets import mimic_sections, wording

WORDS = ["Lungs", "are", "clear.", "No", "effusion.", "___", "PA", "view:", "1.", "Heart", "(AP)"]
HEADERS = {
    "FINDINGS": "findings", "IMPRESSION": "impression", "INDICATION": "indication", "COMPARISON": "comparison",
    "HISTORY": "history", "TECHNIQUE": "technique", "CONCLUSION": "impression", "FINDINGS/IMPRESSION": "impression",
    "COMPARISONS": "comparison", "REASON FOR EXAM": "indication", "IMPRESSON": "impression", "WET READ": "wet read",
    "PORTABLE CHEST": "findings", "FINAL IMPRESSION": "impression",
}  # fmt: skip

sentences = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
# several lines of text; a line in capitals before a colon would be a header, and is made apart
bodies = st.lists(sentences, min_size=1, max_size=3).map("\n ".join)
sections = st.lists(st.tuples(st.sampled_from(sorted(HEADERS)), bodies | st.just("")), max_size=6)


def line(text: str) -> str:
    return " ".join(text.split())


@given(
    st.text(alphabet="abc XYZ:\n", max_size=30).filter(lambda text: not re.search(r"\n [A-Z ]+:\s", f"{text}\n ")),
    sections,
)
def test_what_was_put_in_sections_is_found_in_them(before, parts):
    text = f" {line(before)}\n \n" + "".join(f"\n {name}:  {body}\n \n" for name, body in parts)
    said = {}
    for name, body in parts:
        key = HEADERS[name]
        if body.strip() or key not in ("findings", "impression"):
            said[key] = line(body)
    found = mimic_sections.read(text, "1")
    if said.get("findings") or said.get("impression"):
        assert found.report == Report(said.get("findings", ""), said.get("impression", ""))
        assert found.by == "headers"
    else:
        assert found.by in ("", "last paragraph")
    assert found.indication == (said.get("indication") or said.get("history") or "") or found.by == "last paragraph"
    assert found.comparison == said.get("comparison", "") or found.by == "last paragraph"


PIECES = [*"AB ab:\n/(),-_é\r", "\n FINDINGS: ", "\n IMPRESSION:\n", "\n INDICATION: ", "\n \n", " Clear. "]


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_any_text_is_read_and_nothing_is_made_up(text):
    found = mimic_sections.read(text, "1")
    words = f" {line(text)} "
    for said in (found.report.findings, found.report.impression, found.indication, found.comparison):
        assert said == line(said)
        assert not said or f" {said} " in words
    assert bool(found.report) == bool(found.by)
    assert sum(len(one.text) for one in mimic_sections.split(text)) <= len(text)


@pytest.mark.parametrize(
    ("text", "report", "by"),
    [
        # the first of two is passed over where it is empty, the last counts where both say something
        ("\n CHEST, PA AND LATERAL: \n \n INDICATION: x\n \n FINDINGS: Clear.\n", Report("Clear."), "headers"),
        ("\n FINDINGS: One.\n \n FINDINGS: Two.\n", Report("Two."), "headers"),
        # a header right behind another on the next line is looked for from that line on
        ("\n FINDINGS:\n IMPRESSION: Normal.\n", Report("IMPRESSION: Normal."), "headers"),
        # small letters and lines without the leading blank are no headers
        ("\n Findings: Clear.\n", Report(), ""),
        ("\nFINDINGS: Clear.\n", Report(), ""),
        # paragraphs behind the first of the last section
        ("\n COMPARISON:  None.\n \n Heart is large.\n \n No fracture.", Report("Heart is large. No fracture."), "last paragraph"),
        ("Heart is large.\n \n No fracture.", Report("No fracture."), "last paragraph"),
        ("Heart is large.", Report(), ""),
        ("", Report(), ""),
    ],
)  # fmt: skip
def test_cases(text, report, by):
    found = mimic_sections.read(text, "1")
    assert (found.report, found.by) == (report, by)


def test_the_first_paragraph_stays_with_its_section():
    found = mimic_sections.read("\n COMPARISON:  Yesterday.\n \n Heart is large.", "1")
    assert (found.comparison, found.report) == ("Yesterday.", Report("Heart is large."))


def test_reports_with_rules_of_their_own(monkeypatch):
    """31 have bounds set by hand, 23 have their text under another name; only digests of their numbers are kept."""
    assert (len(mimic_sections._BOUNDS), len(mimic_sections._NAMED)) == (31, 23)
    assert all(re.fullmatch(r"[0-9a-f]{12}", mark) for mark in {*mimic_sections._BOUNDS, *mimic_sections._NAMED})
    marks = {name: hashlib.blake2b(name.encode(), digest_size=6).hexdigest() for name in ("1", "2", "3")}
    monkeypatch.setattr(mimic_sections, "_BOUNDS", {marks["1"]: (2, 7), marks["3"]: (0, 0)})
    monkeypatch.setattr(mimic_sections, "_NAMED", {marks["2"]: "indication"})
    assert mimic_sections.read("x Clear. rest", "1").report == Report("Clear")
    assert mimic_sections.read("\n FINDINGS: Clear.", "3").report == Report()
    found = mimic_sections.read("\n INDICATION: Heart is large.\n", "2")
    assert (found.report, found.indication, found.by) == (
        Report("Heart is large."),
        "",
        "official rule for this report",
    )


# ---- cells -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nothing", ["", " ", "None", "none.", "NONE AVAILABLE", "N/A", "n/a.", "nan", "XXXX", "XXXX, XXXX.", "___.", "[** **]", None, math.nan, "Unknown", "No prior"]
)  # fmt: skip
def test_what_says_nothing(nothing):
    assert wording.said(nothing) == ""


@pytest.mark.parametrize("something", ["No change.", "None seen", "Normal.", "XXXX chest", "No", "x-XXXX of the chest"])
def test_what_says_something(something):
    assert wording.said(something) == ("" if something == "No" else something)


@given(st.text(max_size=60), st.sampled_from(wording.MARKS))
def test_cells_are_one_line_and_reading_twice_changes_nothing(text, how):
    said = wording.said(text)
    assert said == " ".join(said.split()) and wording.said(said) == said
    treated = wording.without_marks(said, how)
    assert how == "keep" or not wording.MARK.search(treated)
    assert treated == wording.without_marks(treated, how)


def test_marks():
    text = "Compared to ___, no change. PICC line (___) stays. Lungs are clear."
    assert wording.without_marks(text, "keep") == text
    assert wording.without_marks(text, "remove") == "Compared to, no change. PICC line () stays. Lungs are clear."
    assert wording.without_marks(text, "sentence") == "Lungs are clear."
    assert not wording.MARK.search("Lexx maxXXXXimum")
    with pytest.raises(UsageError, match="Did you mean 'remove'"):
        wording.check_marks("remov")


@given(
    st.dates(datetime.date(1900, 1, 1), datetime.date(2200, 1, 1)),
    st.integers(1, 5000),
    st.text(min_size=1, max_size=8).filter(str.strip),
    st.binary(min_size=1, max_size=8),
)
def test_shifted_dates_keep_order_and_distance(first, days, patient, key):
    second = first + datetime.timedelta(days=days)
    moved = [datetime.date.fromisoformat(shifted(date.isoformat(), patient, key)) for date in (first, second)]
    assert moved[1] - moved[0] == second - first
    assert datetime.timedelta(days=36_525) <= moved[0] - first <= datetime.timedelta(days=2 * 36_525)
    assert shifted(f"{first.isoformat()}T10:30:00", patient, key) == f"{moved[0].isoformat()}T10:30:00"
