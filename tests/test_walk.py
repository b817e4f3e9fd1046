"""The perception tree of a data set, its walk as text, and critiques: written, read back, and read where they are odd."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wetread.errors import KnowledgeError, MissingError
from wetread.knowledge import KINDS, Tree, critique, differences, extract, load, prune, walk
from wetread.knowledge.pruning import shuffled, whole
from wetread.knowledge.tree import phrase
from wetread.records import CHANGES, SEVERITIES, SIDES, Correction, Finding

KNOWN = load()
NAMES = [spec.name for spec in KNOWN.findings.values() if not spec.normal]
GONE = "resolved"


@st.composite
def findings(draw):
    """Any finding that the knowledge file allows."""
    spec = KNOWN[draw(st.sampled_from(NAMES))]
    presence = draw(st.sampled_from(["present", "uncertain", "absent"]))
    side = draw(st.sampled_from(["", *(SIDES[:3] if spec.sides else ())]))
    location = draw(st.sampled_from(["", *spec.locations]))
    if presence == "absent":
        gone = draw(st.booleans())
        return Finding(spec.name, "absent", side, location if gone else "", "", GONE if gone else "")
    severity = draw(st.sampled_from(["", *SEVERITIES[:3]])) if spec.severities else ""
    change = draw(st.sampled_from(["", *(one for one in CHANGES if one and one != GONE)]))
    return Finding(spec.name, presence, side, location, severity, change)


def bare(said):
    return sorted({(f.name, f.presence, f.side, f.location, f.severity, f.change) for f in said})


@given(findings())
def test_an_item_and_a_phrase_read_back(one):
    assert walk.parse(walk.item(one)) == walk.parse(phrase(one)) == one


@given(st.lists(findings(), max_size=8), st.booleans())
def test_a_walk_reads_back_and_keeps_what_the_tree_lacks(said, pruned):
    tree = prune([[Finding("cardiomegaly")]], least=1) if pruned else whole()
    text = walk.write(said, tree)
    read = walk.read(text, tree)
    plain = [f for f in said if f.presence == "absent" and f.change != GONE and f.name not in tree]
    assert bare(read.findings) == bare(f for f in said if f not in plain)
    assert [branch.region for branch in tree.branches] == list(read.regions) and not read.loose
    assert set(read.outside) == {f.name for f in said if f.name not in tree and f not in plain}
    for one in read.findings:
        assert text[slice(*one.span)] == walk.item(Finding(**{**one.to_json(), "span": None}))


@given(st.lists(findings(), max_size=6))
def test_a_walk_without_a_tree_is_one_line(said):
    text = walk.write(said, None)
    assert text.startswith("Seen: ") and "\n" not in text and bare(walk.read(text, None).findings) == bare(said)


@given(st.text(max_size=200))
def test_any_text_can_be_read_as_a_walk_or_a_critique(text):
    walk.read(text, whole())
    walk.read(f"Pleura: {text}", whole())
    critique.read(text)


def test_every_denies_what_a_report_claims_somewhere_and_a_whole_tree_denies_all():
    tree = prune([[Finding("scoliosis")]], least=1)
    text = walk.write([Finding("pneumothorax", side="left")], tree, negatives="every")
    read = walk.read(text, tree).findings
    assert {f.name for f in read} == {"pneumothorax", "scoliosis"} == tree.asked | {"pneumothorax"}
    assert {f.name for f in walk.read(walk.write([], whole(), negatives="every"), whole()).findings} == set(whole().names)
    assert [f.name for f in read if f.presence == "present"] == ["pneumothorax"]
    assert "scoliosis no" in text and "pneumothorax yes left" in text


def test_free_words_are_read_by_the_extractor_and_the_rest_is_kept():
    read = walk.read(
        "Pleura: There is a small effusion on the left; some haze nobody named\nheart and mediastinum: normal", whole()
    )
    (one,) = read.findings
    assert (one.name, one.severity, one.side) == ("pleural effusion", "mild", "left")
    assert read.loose == ("some haze nobody named",) and read.regions == ("pleura", "heart and mediastinum")


def test_pruning_counts_reports_and_never_loses_what_is_urgent():
    reports = [extract("Scoliosis. No effusion."), extract("Scoliosis. Mild cardiomegaly. Cardiomegaly."), ()]
    tree = prune(reports, least=2)
    assert "scoliosis" in tree and "cardiomegaly" not in tree and "pleural effusion" not in tree
    urgent = {name for name, spec in KNOWN.findings.items() if spec.urgency == "urgent" and not spec.normal}
    assert urgent <= set(tree.names)
    assert tree.reports == 3 and tree.counts["scoliosis"] == 2 and dict(tree.dropped) == {"cardiomegaly": 1}


def test_a_tree_on_disk_is_the_same_and_notices_a_change(tmp_path):
    file = tmp_path / "tree.json"
    tree = prune([[Finding("scoliosis")]], least=1)
    tree.save(file)
    assert Tree.open(file) == tree and Tree.open(file).digest == tree.digest
    said = json.loads(file.read_text())
    said["branches"][0]["names"] = ["scoliosis"]
    file.write_text(json.dumps(said))
    with pytest.raises(KnowledgeError, match="digest"):
        Tree.open(file)
    for text, what in (("{", "JSON"), ("[]", "no perception tree"), ('{"modality": 1}', "no perception tree")):
        file.write_text(text)
        with pytest.raises(KnowledgeError, match=what):
            Tree.open(file)
    with pytest.raises(MissingError, match="no perception tree"):
        Tree.open(tmp_path / "none.json")


def test_a_shuffled_tree_is_as_long_and_has_another_order():
    tree = whole()
    other = shuffled(tree, 1)
    assert sorted(other.names) == sorted(tree.names) and other.names != tree.names
    assert [len(b.names) for b in other.branches] == [len(b.names) for b in tree.branches]
    assert other.digest != tree.digest and shuffled(tree, 1) == other != shuffled(tree, 2)
    assert Tree.from_json(other.to_json()) == other


@st.composite
def slips(draw):
    kind = draw(st.sampled_from(KINDS))
    said, meant = draw(findings()), draw(findings())
    if kind == "false_finding":
        return Correction(kind, said, None)
    return Correction(kind, None, meant) if kind == "omitted_finding" else Correction(kind, said, meant)


@given(st.lists(slips(), max_size=5))
def test_a_critique_reads_back(items):
    assert critique.read(critique.write(items)) == tuple(items)


def test_differences_become_corrections_in_the_tree_s_order():
    found = differences(
        "Small left effusion. Right nodule in the upper zone.", "Cardiomegaly. Left nodule in the upper zone."
    )
    items = critique.corrections(found, whole())
    assert critique.write(items).splitlines() == [
        "wrong location: left nodule, upper zone -> right nodule, upper zone",
        "omitted finding: mild left pleural effusion",
        "false finding: cardiomegaly",
    ]
    assert critique.read(critique.write(items)) == items


def test_a_critique_that_says_nothing_is_no_critique():
    assert critique.read("The draft looks fine to me.") is None
    assert critique.read("No errors.") == () and critique.read("") is None
    assert critique.read("omitted finding: something unheard of") is None
    assert critique.read("* False finding: left pneumothorax.")[0].said == Finding("pneumothorax", side="left")
