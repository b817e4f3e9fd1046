"""The knowledge file and what is checked about it; the tree."""

import pytest

from wetread.errors import KnowledgeError, MissingError
from wetread.knowledge import CHEXPERT14, NIH14, extract, fill, grow, label_set, load, serialise
from wetread.knowledge.ontology import DEFAULT
from wetread.records import Finding

PHANTOM = """cardiomegaly; enlarged cardiomediastinum; lung opacity; nodule; mass; pulmonary edema; consolidation; atelectasis;
pneumothorax; pleural effusion; pleural thickening; rib fracture; emphysema; interstitial pattern; calcified granuloma;
hilar enlargement; elevated hemidiaphragm; scoliosis; aortic calcification; hiatal hernia; pneumoperitoneum;
subcutaneous emphysema; endotracheal tube; enteric tube; central venous catheter; pacemaker; chest tube; sternotomy wires"""


def test_holds_every_name_that_others_rely_on():
    known = load()
    assert {name.strip() for name in PHANTOM.replace("\n", " ").split(";")} <= set(known.findings)
    assert {spec.chexpert for spec in known.findings.values()} >= set(CHEXPERT14)
    assert load() is known


def test_every_finding_says_what_it_is():
    for spec in load().findings.values():
        assert spec.knowledge and spec.lay and spec.urgency
        assert spec.normal or spec.terms[0] == spec.name
        assert len(spec.knowledge.split()) < 40


def edited(tmp_path, old, new):
    text = DEFAULT.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "site.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    urgency: actionable", "    urgency: soon", ["'soon'", "urgent, actionable, minor, benign"]),
        ("    region: airway", "    region: airways", ["Did you mean 'airway'?"]),
        ("    lay: the windpipe", "    layy: the windpipe", ["unknown key 'layy'", "Did you mean 'lay'?"]),
        ("    parent: lung opacity", "    parent: opacity", ["is no known parent"]),
        ("  - name: mass\n", "  - name: nodule\n", ["there twice"]),
        ("absent: [cardiomegaly]", "absent: [cardiomegally]", ["Did you mean 'cardiomegaly'?"]),
        ('before: ["no", not', "before: [no, not", ["False", "quotes"]),
        ("modality: chest_xray", "modality: [chest_xray", ["line"]),
        ("    severities: true\n", "    severities: much\n", ["true and false"]),
    ],
)
def test_error_names_file_line_and_what_is_allowed(tmp_path, old, new, says):
    path = edited(tmp_path, old, new)
    with pytest.raises(KnowledgeError) as error:
        load(path)
    message = str(error.value)
    assert message.startswith("site.yaml, line ")
    assert "\n" not in message
    for words in says:
        assert words in message


def test_error_line_is_the_line_of_the_mistake(tmp_path):
    path = edited(tmp_path, "    region: airway", "    region: nowhere")
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "nowhere" in text)
    with pytest.raises(KnowledgeError, match=f"line {line}:"):
        load(path)


def test_missing_file_is_missing(tmp_path):
    with pytest.raises(MissingError, match="no such knowledge file"):
        load(tmp_path / "none.yaml")


def test_an_edited_file_is_read_again(tmp_path):
    path = edited(tmp_path, 'version: "2"', 'version: "3"')
    assert load(path).version == "3"


def test_unknown_finding_is_answered_with_the_nearest_name():
    with pytest.raises(KnowledgeError, match="Did you mean 'pneumothorax'"):
        load()["pneumothorx"]


def test_bare_tree_keeps_urgent_findings_when_pruned():
    names = {name for branch in grow(keep=["scoliosis"]) for name in branch.names}
    assert {"scoliosis", "pneumothorax", "pneumoperitoneum"} <= names
    assert "emphysema" not in names


def test_filled_tree_lists_what_is_claimed_by_region():
    findings = [
        Finding("pneumothorax", "absent"),
        Finding("pleural effusion", "present", "left", "", "mild", "new"),
        Finding("nodule", "uncertain", "right", "upper zone"),
        Finding("unheard of"),
    ]
    text = serialise(fill(findings))
    assert text.splitlines() == [
        "Lungs by zone: possible right nodule, upper zone",
        "Pleura: new mild left pleural effusion; no pneumothorax",
    ]


def test_budget_drops_the_least_urgent_first():
    full, short = serialise(), serialise(budget=40)
    assert len(short.split()) < len(full.split())
    assert "pneumothorax" in short and "scoliosis" not in short


def site(tmp_path, text):
    path = tmp_path / "extra.yaml"
    path.write_text(text, encoding="utf-8")
    return path


EXTRA = """version: "ward 3"
findings:
  - name: esophageal stent
    region: devices
    urgency: minor
    parent: support devices
    chexpert: Support Devices
    terms: [oesophageal stent, esophageal ~ stent]
  - name: pneumothorax
    terms: [air rim]
    urgency: actionable
vocabulary:
  negation: {before: [nil]}
  spelling: {pnx: pneumothorax}
"""


def test_a_site_extends_the_packaged_file(tmp_path):
    known = load(site(tmp_path, EXTRA))
    assert known.version == "2+ward 3"
    assert len(known.findings) == len(load().findings) + 1
    assert known["pneumothorax"].terms == (*load()["pneumothorax"].terms, "air rim")
    assert known["pneumothorax"].urgency == "actionable"
    assert load()["pneumothorax"].urgency == "urgent"
    found = extract("Esophageal metal stent. Nil air rim on the left. Right pnx.", known)
    assert [(f.name, f.presence, f.side) for f in found] == [
        ("esophageal stent", "present", ""),
        ("pneumothorax", "absent", "left"),
        ("pneumothorax", "present", "right"),
    ]
    assert label_set("chexpert14", found, known)["Support Devices"] == 1


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("findings:\n  - name: halo\n    urgency: minor\n    terms: [halo]\n", 2, ["new finding", "'region'"]),
        ("findings:\n  - name: halo\n    region: lungs\n    urgency: minor\n", 2, ["no terms"]),
        ("findings:\n  - {name: mass, parent: mass}\n", 2, ["its own ancestor"]),
        ("findings:\n  - {name: mass, terms: tumour}\n", 2, ["'tumour'", "a list"]),
        ("findings:\n  - {name: mass, terms: [yes]}\n", 2, ["True", "quotes"]),
        ("findings:\n  - {name: mass, locations: [attic]}\n", 2, ["'attic'", "upper zone"]),
        ("findings:\n  - {name: mass, nih: Masses}\n", 2, ["Did you mean 'Mass'?"]),
        ("vocabulary:\n  negations: {before: [nil]}\n", 2, ["unknown key 'negations'", "Did you mean 'negation'?"]),
        ("vocabulary:\n  sides:\n    lft: [lft]\n", 2, ["lft"]),
        ("- findings\n", 1, ["a mapping"]),
        ("", 1, ["nothing"]),
        ("modality: knee\n", 1, ["'language' is missing"]),
    ],
)
def test_an_extension_is_checked(tmp_path, text, line, says):
    with pytest.raises(KnowledgeError) as error:
        load(site(tmp_path, text))
    assert str(error.value).startswith(f"extra.yaml, line {line}: ")
    assert "\n" not in str(error.value)
    for words in says:
        assert words in str(error.value)


def test_a_binary_file_is_no_knowledge(tmp_path):
    path = tmp_path / "extra.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KnowledgeError, match=r"extra\.yaml"):
        load(path)


def test_the_packaged_file_passes_its_own_check(tmp_path):
    """It is trusted at run time, so here is where it is checked."""
    path = tmp_path / "chest_xray.yaml"
    path.write_bytes(DEFAULT.read_bytes())
    assert load(path).findings == load().findings


def test_covers_the_label_sets_and_the_anatomy():
    known = load()
    assert sum(not spec.normal for spec in known.findings.values()) >= 80
    assert {spec.nih for spec in known.findings.values()} >= set(NIH14)
    assert {spec.region for spec in known.findings.values()} == set(known.regions)
    assert known.within["right upper lobe"] == "upper zone"
    stated = [("Endotracheal tube in good position.", "well placed"), ("Malpositioned enteric tube.", "malpositioned")]
    for text, place in stated:
        assert extract(text)[0].location == place
