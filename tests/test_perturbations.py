"""The perturbation and hacking suites of bench/ on a few reports, and the edits that they make."""

import sys
from pathlib import Path
from random import Random

import pytest

from studies_files import SHARED, needs

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))

import edit_attributes
import edits
import hacking
import perturbations
import rewordings
from edit_text import SPELLER, cut, join, phrase_name, tidy

from wetread import metrics
from wetread.knowledge import load
from wetread.records import Report

REPORTS = 60
LEAST = 0.99
"""Share of all edits that a metric must judge as it should."""
LEAST_OF_A_KIND = 0.95
"""The same of one kind, where a single edit weighs a few percent."""

REFERENCE = Report(
    "Small left pleural effusion, unchanged. The heart is mildly enlarged. No pneumothorax or consolidation. "
    "There is a right chest tube.",
    "1. Small left effusion. 2. Mild cardiomegaly.",
)
SENTENCES = cut(REFERENCE)


def openi(count):
    return perturbations.real(SHARED / "openi", count, 0, "tuning")


def phantoms(count):
    return perturbations.made_up(count, 0)


CORPORA = [pytest.param(phantoms, id="phantom"), pytest.param(openi, id="openi", marks=needs("openi"))]


@pytest.mark.parametrize("reports", CORPORA)
def test_every_edit_is_judged_as_it_should_be(reports):
    cases = list(perturbations.make(reports(REPORTS), 0))
    names = perturbations.clinical()
    cells = perturbations.tabulate(cases, names)
    for name in names:
        inside = {kind: row[name] for kind, row in cells.items() if row[name].inside}
        for kinds in (perturbations.CHANGING, perturbations.PRESERVING):
            judged = [cell for kind, cell in inside.items() if kind in kinds]
            assert sum(cell.right for cell in judged) >= LEAST * sum(cell.n for cell in judged), name
        assert {kind: cell for kind, cell in inside.items() if cell.share < LEAST_OF_A_KIND} == {}, name


@pytest.mark.parametrize("reports", CORPORA)
def test_word_overlap_fails_the_same_suite(reports):
    cells = perturbations.tabulate(list(perturbations.make(reports(REPORTS), 0)), perturbations.LEXICAL)
    for name in perturbations.LEXICAL:
        assert cells["synonyms"][name].share < 0.1 and cells["sentence twice"][name].share < 0.1
        assert cells[perturbations.RANKED][name].share < 0.8


@pytest.mark.parametrize("reports", CORPORA)
def test_no_hack_pays(reports):
    made = list(hacking.cases(reports(REPORTS), 0))
    short = [hack for hack in hacking.HACKS if hack not in hacking.LONG]
    assert len(made) > REPORTS / 3
    beaten = hacking.above(made, short, hacking.judges()) | hacking.above(made[:5], hacking.LONG, hacking.judges())
    paying = {(hack, name) for hack, row in beaten.items() for name, wins in row.items() if any(wins)}
    assert paying == set()


def test_every_kind_of_edit_can_be_made():
    kinds = {case.edit.kind for case in perturbations.make(phantoms(REPORTS), 0)}
    assert kinds == {*perturbations.CHANGING, *perturbations.PRESERVING}


def test_a_report_is_cut_and_joined_again():
    assert join(SENTENCES) == REFERENCE == tidy(REFERENCE)
    assert [s.text for s in SENTENCES][-2:] == ["Small left effusion.", "Mild cardiomegaly."]
    assert tidy(Report("Clear  lungs\nHeart normal", "1. Normal")) == Report("Clear lungs Heart normal.", "1. Normal.")


def test_a_sentence_knows_what_it_asserts():
    (sentence,) = cut(Report("Small left effusion without pneumothorax."))
    assert sentence.asserted == {"pleural effusion"} and sentence.names == {"pleural effusion", "pneumothorax"}
    assert not cut(Report("Possible effusion."))[0].asserted
    assert not cut(Report("Is there an effusion?"))[0].asserted
    assert not cut(Report("Evaluate for effusion."))[0].asserted


def test_a_side_is_swapped_wherever_it_is_stated():
    edit = edit_attributes.swap_side(SENTENCES, Random(1))
    assert edit is not None and edit.findings == {"pleural effusion"}
    assert (
        edit.draft.findings.startswith("Small right pleural effusion, unchanged.") and "right chest" in edit.draft.text
    )
    assert edit.draft.impression.startswith("1. Small right effusion.")
    both = cut(Report("Small left effusion. Large right effusion."))
    assert edit_attributes.swap_side(both, Random(0)) is None, "swapping both sides would say much the same"


def test_a_severity_is_changed_wherever_it_is_stated():
    edits_made = {edit_attributes.change_severity(SENTENCES, Random(seed)).findings for seed in range(20)}
    assert edits_made == {frozenset({"pleural effusion"}), frozenset({"cardiomegaly"})}
    edit = edit_attributes.change_severity(cut(Report("The heart is mildly enlarged.")), Random(0))
    assert edit.draft.findings.split()[3] in ("moderately", "severely", "markedly")
    assert edit_attributes.change_severity(cut(Report("Mild to moderate effusion.")), Random(0)) is None
    assert edit_attributes.change_severity(cut(Report("Mildly displaced rib fracture.")), Random(0)) is None


def test_a_change_is_reversed_and_agrees_with_its_verb():
    for seed in range(20):
        edit = edit_attributes.reverse_change(cut(Report("The effusions have increased.")), Random(seed))
        assert edit.draft.findings.split()[2] in ("have", "are") and "increased" not in edit.draft.findings
    assert edit_attributes.reverse_change(cut(Report("No change in the effusion.")), Random(0)) is None


def test_a_negation_is_flipped_both_ways():
    def flipped(text):
        return edits.flip_negation(cut(Report(text)), Random(0)).draft.findings

    assert flipped("There is no effusion or pneumothorax.") == "There is effusion and pneumothorax."
    assert flipped("Neither effusion nor pneumothorax is seen.") == "Effusion and pneumothorax is seen."
    assert flipped("The heart is not enlarged.") == "The heart is enlarged."
    assert flipped("The heart is mildly enlarged.") == "The heart is not enlarged."
    assert flipped("Small left pleural effusion.") == "No left pleural effusion."
    assert edits.flip_negation(cut(Report("No change in the effusion.")), Random(0)) is None


def test_a_finding_is_dropped_wherever_it_is_named():
    for seed in range(20):
        edit = edits.drop_finding(SENTENCES, Random(seed))
        left = {name for sentence in cut(edit.draft) for name in sentence.names}
        assert edit.findings and not edit.findings & left


def test_an_added_finding_is_new():
    for seed in range(50):
        edit = edits.add_finding(SENTENCES, Random(seed))
        assert not edit.findings & {name for sentence in SENTENCES for name in sentence.names}
        assert len(edit.draft.text) > len(REFERENCE.text)


def test_half_a_report_is_left():
    edit = edits.truncate(
        cut(Report("The lungs are clear. No pneumothorax.", "Moderate cardiomegaly. Hiatal hernia.")), Random(0)
    )
    assert edit.findings == {"cardiomegaly", "hiatal hernia"} and len(edit.draft.text.split()) <= 7
    assert edits.truncate(cut(Report("Cardiomegaly.", "Cardiomegaly.")), Random(0)) is None


def test_rewordings_keep_every_word_that_they_should():
    for seed in range(20):
        words = sorted(REFERENCE.text.lower().split())
        assert sorted(rewordings.reorder(SENTENCES, Random(seed)).draft.text.lower().split()) == words
        assert sorted(rewordings.respace(SENTENCES, Random(seed)).draft.text.lower().split()) == words
        assert len(rewordings.duplicate(SENTENCES, Random(seed)).draft.text.split()) > len(words)
    assert rewordings.reorder(cut(Report("Left effusion. It has increased.")), Random(0)) is None


@pytest.mark.parametrize("group", rewordings.SYNONYMS, ids=lambda group: group[0])
def test_synonyms_are_terms_of_one_finding(group):
    names = {phrase_name(phrase) for phrase in group}
    assert len(group) > 1 and len(names) == 1 and names != {""}


def test_words_of_grade_and_change_are_in_the_knowledge_file():
    words = load().words
    for table in edits.GRADES:
        for grade, phrases in table.items():
            assert set(phrases) <= set(words["severities"][grade]), grade
    for change, phrases in edit_attributes.BEFORE.items():
        known = {SPELLER.word(word) for phrase in words["changes"][change] for word in phrase.split()}
        assert {SPELLER.word(word) for word in phrases} <= known, change


def test_what_a_metric_is_meant_to_see_is_declared_of_every_clinical_metric():
    averages = {"findings_f1_macro", "findings_precision", "findings_recall", "labels14_f1_macro"}
    """Their value of one report is that of another metric, or looks at one side only."""
    specs = {name: metrics.get(name).spec for name in metrics.METRICS}
    clinical = {name for name, spec in specs.items() if spec.modalities and not spec.needs}
    assert clinical - averages == set(perturbations.SEES)


def test_an_honest_draft_leaves_out_one_finding():
    case = hacking.honest(REFERENCE, Random(0))
    assert case is not None and len(case.draft.text) < len(REFERENCE.text)
    assert hacking.honest(Report("Cardiomegaly."), Random(0)) is None, "nothing would be left"
    assert hacking.honest(Report("Clear lungs."), Random(0)).draft == Report("Clear lungs.")


def test_hacks_are_what_they_say():
    case = hacking.honest(REFERENCE, Random(0))
    drafts = {name: hack(case) for name, hack in hacking.HACKS.items()}
    assert not drafts["nothing"]
    assert "No pleural effusion." in drafts["reference and its negation"].impression
    for name in ("5,000 words, repeated", "5,000 words, padded"):
        assert len(drafts[name].text.split()) >= hacking.WORDS
    assert len(drafts["sentences twice"].findings.split()) == 2 * len(case.draft.findings.split())
