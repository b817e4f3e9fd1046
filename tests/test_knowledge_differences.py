"""How two reports differ."""

from collections import Counter

import pytest

from wetread.knowledge import KINDS, differences, extract
from wetread.records import Finding, Report


def kinds(reference, draft):
    return [(d.kind, d.finding) for d in differences(reference, draft)]


REPORT = "Small left pleural effusion, unchanged. Mild cardiomegaly. Nodule in the right upper zone. No pneumothorax."


@pytest.mark.parametrize(
    ("reference", "draft", "expected"),
    [
        (REPORT, REPORT, []),
        ("No effusion.", "Left effusion.", [("false_finding", "pleural effusion")]),
        ("Left effusion.", "Lungs clear.", [("omitted_finding", "pleural effusion")]),
        ("Left effusion.", "Right effusion.", [("wrong_location", "pleural effusion")]),
        ("Left effusion.", "Pleural effusion.", [("wrong_location", "pleural effusion")]),
        ("Pleural effusion.", "Left effusion.", []),
        ("Right upper zone nodule.", "Right lower zone nodule.", [("wrong_location", "nodule")]),
        ("Right upper zone nodule.", "Right nodule.", []),
        ("Small left effusion.", "Large left effusion.", [("wrong_severity", "pleural effusion")]),
        ("Small left effusion.", "Left effusion.", []),
        ("Left effusion.", "New left effusion.", [("false_comparison", "pleural effusion")]),
        ("Increased left effusion.", "Decreased left effusion.", [("false_comparison", "pleural effusion")]),
        ("New left effusion.", "Left effusion.", [("omitted_comparison", "pleural effusion")]),
        ("The effusion has resolved.", "No effusion.", [("omitted_comparison", "pleural effusion")]),
        ("No effusion.", "The effusion has resolved.", [("false_comparison", "pleural effusion")]),
        ("Possible left effusion.", "Left effusion.", []),
        ("Bilateral effusions.", "Left effusion. Right effusion.", []),
        ("Left rib fracture.", "Left fracture.", []),
        ("Left rib fracture.", "Right fracture.", [("false_finding", "fracture"), ("omitted_finding", "rib fracture")]),
        ("Endotracheal tube.", "Support devices.", []),
        ("Heart is enlarged.", "Cardiomegaly.", []),
    ],
)
def test_six_kinds(reference, draft, expected):
    assert kinds(reference, draft) == expected


def test_significance_follows_urgency():
    by_name = {d.finding: d.significant for d in differences("Normal chest.", "Pneumothorax. Scoliosis.")}
    assert by_name == {"pneumothorax": True, "scoliosis": False}


def test_takes_reports_texts_and_findings_alike():
    reference, draft = Report("Small left effusion."), Report("Right effusion. Mass.")
    expected = differences(reference, draft)
    assert [d.kind for d in expected] == ["false_finding", "wrong_location"]
    assert differences(extract(reference), extract(draft)) == expected
    assert kinds(reference.text, draft.text) == [(d.kind, d.finding) for d in expected]


def test_each_error_carries_both_sides():
    (error,) = differences("Small left effusion.", "Large left effusion.")
    assert error.reference is not None and error.draft is not None
    assert (error.reference.severity, error.draft.severity) == ("mild", "severe")


def test_pairs_are_one_to_one_with_the_best_side_first():
    reference = [Finding("nodule", side="left"), Finding("nodule", side="right")]
    draft = [Finding("nodule", side="right"), Finding("nodule", side="left"), Finding("nodule", side="left")]
    assert kinds(reference, draft) == [("false_finding", "nodule")]


def test_swapping_the_texts_swaps_false_and_omitted():
    texts = [
        REPORT,
        "Right effusion. Mass.",
        "Large left effusion. Cardiomegaly.",
        "",
        "Support devices. Rib fracture.",
    ]
    for one in texts:
        for other in texts:
            there, back = (Counter(d.kind for d in differences(*pair)) for pair in ((one, other), (other, one)))
            assert there["false_finding"] == back["omitted_finding"]
            assert there["wrong_severity"] == back["wrong_severity"]
    assert len(KINDS) == 6


def test_a_denial_is_the_evidence_of_the_other_side():
    reference, draft = "Left effusion. The heart is normal.", "No left effusion. Cardiomegaly."
    omitted, false = sorted(differences(reference, draft), key=lambda error: error.kind, reverse=True)
    assert (omitted.kind, omitted.draft.presence) == ("omitted_finding", "absent")
    assert draft[slice(*omitted.draft.span)] == "effusion"
    assert (false.kind, false.reference.presence) == ("false_finding", "absent")
    assert reference[slice(*false.reference.span)] == "heart is normal"
    (silent,) = differences(reference, "The heart is normal.")
    assert silent.draft is None


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("No pneumothorax or effusion. Bilateral effusions.", True),
        ("The lungs are clear. Right nodule.", True),
        ("Left nodule. The right lung is clear.", False),
        ("Nodule. The lungs are otherwise clear.", False),
        ("No large effusion. Small effusion.", False),
        ("No new effusion. Stable effusion.", False),
        ("No focal consolidation, effusion or pneumothorax. Right effusion.", True),
        ("No left effusion. Right effusion.", False),
        ("No left effusion. Bilateral effusions.", True),
        ("The effusion has resolved. Small effusion.", False),
        ("No acute cardiopulmonary disease. Small effusion.", False),
    ],
)
def test_an_outright_contradiction_is_told(text, denied):
    found = [f for f in extract(text) if f.presence == "present"]
    assert any(f.denied for f in found) == denied
    for finding in found:
        assert Finding.from_json(finding.to_json()).denied == finding.denied


def test_saying_both_earns_nothing():
    plain, both = "Bilateral effusions.", "No pneumothorax or effusion. Bilateral effusions."
    (error,) = differences(plain, both)
    assert (error.kind, both[slice(*error.draft.span)]) == ("omitted_finding", "effusion")
    assert [error.kind for error in differences("Clear lungs.", both)] == ["false_finding"]
    assert differences(both, both) == ()
    assert differences(both, plain) == ()
