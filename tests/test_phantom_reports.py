"""The phantom's reports say the truth, nothing else, and in words that the extractor reads back."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from wetread.knowledge import extract
from wetread.studies.phantom import generate
from wetread.studies.phantom.catalogue import SPEC
from wetread.studies.phantom.sites import SITE

STUDIES = list(generate(10_000, seed=11))


def claims(findings, presence="present"):
    return {(f.name, f.side, f.location, f.severity, f.change) for f in findings if f.presence == presence}


def test_extraction_gives_back_the_truth():
    for study in STUDIES:
        found = extract(study.report)
        assert claims(found) == claims(study.findings), study.report.text
        assert not claims(found, "uncertain"), study.report.text


def test_what_has_resolved_is_read_as_resolved():
    for study in STUDIES:
        truth = {(f.name, f.side, f.location) for f in study.findings if f.change == "resolved"}
        found = {(f.name, f.side, f.location) for f in extract(study.report) if f.change == "resolved"}
        assert found == truth, study.report.text


def test_no_statement_denies_a_finding():
    for study in STUDIES:
        denied = {f.name for f in extract(study.report) if f.presence == "absent"}
        assert not denied & {f.name for f in study.findings if f.presence == "present"}, study.report.text


def test_without_a_prior_no_word_of_change():
    words = re.compile(r"\b(new|increas|decreas|unchang|stable|resolv|worsen|improv|again|no longer|smaller|larger|"
                       r"similar|progress|regress|persist|clear(ed)?\b(?<!clear)|disappear|developed|appeared)", re.I)  # fmt: skip
    alone = [study for study in STUDIES if study.prior is None]
    assert not [study.report.text for study in alone if words.search(study.report.text)]
    assert not [study for study in alone if study.comparison]
    assert all(study.comparison for study in STUDIES if study.prior)


def test_reports_are_short_and_their_vocabulary_small():
    findings = [len(study.report.findings.split()) for study in STUDIES]
    impressions = [len(study.report.impression.split()) for study in STUDIES]
    assert 20 <= np.mean(findings) <= 30 and 5 <= np.mean(impressions) <= 10
    assert np.mean(np.add(findings, impressions) > 70) < 0.005
    assert min(findings) > 0 and min(impressions) > 0
    assert len({word for study in STUDIES for word in re.findall(r"[a-z]+", study.report.text.lower())}) <= 500


def test_wording_varies():
    assert len({study.report.text for study in STUDIES}) > 0.9 * len(STUDIES)
    firsts = Counter(study.report.findings.split(".")[0] for study in STUDIES)
    assert firsts.most_common(1)[0][1] < 0.15 * len(STUDIES)


def test_every_site_writes_in_its_own_style():
    reports = {site.key: [s.report for s in STUDIES if s.site == site.name] for site in SITE.values()}
    assert all(re.match(r"1\. ", report.impression) for report in reports["C"])
    assert not any(re.search(r"\d\. ", report.impression) for report in reports["A"] + reports["B"])
    words = {key: np.mean([len(r.findings.split()) for r in texts]) for key, texts in reports.items()}
    assert words["B"] < words["A"] and words["B"] < words["C"]


def test_the_impression_names_the_most_urgent_finding():
    for study in STUDIES:
        names = [f.name for f in study.findings if f.presence == "present"]
        named = {f.name for f in extract(study.report) if f.presence == "present"}
        urgent = [name for name in names if SPEC[name].rank == 0]
        if len(urgent) == 1:
            impression = type(study.report)(impression=study.report.impression)
            assert urgent[0] in {f.name for f in extract(impression)}, study.report.text
        assert set(names) == named


def test_indications_do_not_name_findings():
    assert len({study.indication for study in STUDIES}) > 15
    for study in STUDIES:
        assert study.indication
        assert not any(finding.name in study.indication for finding in study.findings)
