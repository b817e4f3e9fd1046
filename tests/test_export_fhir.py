"""FHIR bundles, read back by the models of fhir.resources: R4 (R4B's are the same for these resources) and R5."""

import base64
import json
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from fhir.resources.bundle import Bundle as BundleR5
from fhir.resources.R4B.bundle import Bundle as BundleR4
from hypothesis import given, settings

from export_documents import REPORT, SIGNATURE, STUDY_UID, document, header, signed, texts
from wetread.errors import UsageError
from wetread.export.fhir import as_fhir, bundle
from wetread.export.header import header_of
from wetread.export.pdf import as_pdf
from wetread.export.text import as_text
from wetread.export.wording import clean
from wetread.knowledge import extract
from wetread.records import Finding, Report

MODELS = {"R4": BundleR4, "R5": BundleR5}


def parsed(of, release="R4", head=None):
    """The bundle as the models read the JSON that is written."""
    return MODELS[release].model_validate_json(as_fhir(of, head or header(), release))


def resources(made, kind):
    return [entry.resource for entry in made.entry if type(entry.resource).__name__ == kind]


def report_of(made):
    (found,) = resources(made, "DiagnosticReport")
    return found


def forms_of(data):
    return json.loads(data)["entry"][0]["resource"]["presentedForm"]


def finding(made, name):
    (found,) = [one for one in resources(made, "Observation") if one.code.text == name]
    return found


def coded(concept):
    return {coding.code: coding.system for coding in concept.coding or ()}


@pytest.mark.parametrize("release", ["R4", "R5"])
def test_a_draft_is_preliminary_and_says_that_an_ai_wrote_it(release):
    made = parsed(document(), release)
    report = report_of(made)
    assert report.status == "preliminary"
    assert report.conclusion.startswith("[AI draft, not verified] ")
    assert "AI draft, not verified." in report.text.div
    assert [label.code for label in report.meta.security] == ["AIAST"]
    assert all(form.title.endswith("AI draft, not verified") for form in report.presentedForm)
    assert {one.status for one in resources(made, "Observation")} == {"preliminary"}
    assert resources(made, "Practitioner") == []
    (device,) = resources(made, "Device")
    named = device.deviceName[0].name if release == "R4" else device.name[0].value
    assert (named, device.version[0].value) == ("demo", "3f2a91c07b5d4e10")
    (origin,) = resources(made, "Provenance")
    assert [agent.type.coding[0].code for agent in origin.agent] == ["author"]


@pytest.mark.parametrize("release", ["R4", "R5"])
def test_a_signed_report_is_final_with_signer_and_time(release):
    made = parsed(signed(), release)
    report = report_of(made)
    assert report.status == "final"
    assert "not verified" not in report.model_dump_json()
    assert report.issued == datetime(2027, 1, 6, 8, tzinfo=UTC)
    (signer,) = resources(made, "Practitioner")
    assert signer.name[0].text == "Jane Doe"
    assert signer.identifier[1].value == "staff-1"
    signer_url = next(entry.fullUrl for entry in made.entry if entry.resource is signer)
    assert report.resultsInterpreter[0].reference == signer_url
    (origin,) = resources(made, "Provenance")
    assert [agent.type.coding[0].code for agent in origin.agent] == ["author", "verifier"]


def test_signing_updates_what_was_drafted_and_takes_back_what_is_gone():
    before, after = parsed(document()), parsed(signed())
    asked = {entry.request.url for entry in before.entry if "?" in entry.request.url}
    again = {entry.request.url for entry in after.entry}
    assert asked <= again
    gone = finding(after, "endotracheal tube")
    assert gone.status == "entered-in-error"
    assert finding(after, "pleural effusion").status == "final"
    urls = {entry.fullUrl for entry in after.entry if entry.resource is gone}
    assert urls.isdisjoint(one.reference for one in report_of(after).result)


def test_findings_are_observations_with_presence_side_place_grade_and_change():
    made = parsed(document())
    effusion = finding(made, "pleural effusion")
    assert coded(effusion.code) == {"60046008": "http://snomed.info/sct", "RID34539": "http://radlex.org"}
    assert coded(effusion.valueCodeableConcept) == {"52101004": "http://snomed.info/sct"}
    said = {one.code.text: one.valueCodeableConcept for one in effusion.component}
    assert {name: concept.text for name, concept in said.items()} == {
        "Laterality": "left",
        "Severity": "mild",
        "Change since the prior study": "increased",
    }
    assert coded(said["Laterality"]) == {"7771000": "http://snomed.info/sct"}
    consolidation = finding(made, "consolidation")
    assert consolidation.bodySite.text == "right lower zone"
    assert coded(consolidation.bodySite) == {"281394001": "http://snomed.info/sct"}
    assert coded(finding(made, "pneumothorax").valueCodeableConcept) == {"272519000": "http://snomed.info/sct"}
    assert finding(made, "pneumonia").valueCodeableConcept.text == "uncertain"
    heart = finding(made, "cardiomegaly")
    assert heart.code.coding is None  # no published code is known to be the same
    assert "heart is mildly enlarged" in heart.note[0].text


@pytest.mark.parametrize("release", ["R4", "R5"])
def test_readable_forms_are_the_text_and_the_pdf(release):
    text, pdf = forms_of(as_fhir(document(), header(), release))
    assert text["contentType"] == "text/plain; charset=utf-8"
    assert base64.b64decode(text["data"]).decode() == as_text(document())
    assert base64.b64decode(pdf["data"]) == as_pdf(document())


@pytest.mark.parametrize("release", ["R4", "R5"])
def test_it_lands_with_patient_and_study_and_names_nobody(release):
    made = as_fhir(document(), header(), release).decode()
    report = report_of(MODELS[release].model_validate_json(made))
    assert report.subject.identifier.value == "PHANTOM-1"
    assert report.subject.identifier.assigner.display == "Example Hospital"
    assert report.basedOn[0].identifier.value == "ACC-1"
    (study,) = report.imagingStudy if release == "R4" else report.study
    assert (study.identifier.system, study.identifier.value) == ("urn:dicom:uid", f"urn:oid:{STUDY_UID}")
    for secret in ("Nobody", "1970", "Referrer", "XR CHEST"):
        assert secret not in made


def test_without_a_header_there_is_no_patient_and_no_study():
    made = parsed(document(), head=header_of(document(), []))
    report = report_of(made)
    assert report.imagingStudy is None
    assert report.effectiveDateTime is None
    assert report.subject.identifier.value.startswith("WETREAD-")


@pytest.mark.parametrize("release", ["R4", "R5"])
@pytest.mark.parametrize("of", [document(), signed()], ids=["draft", "signed"])
def test_references_lead_to_entries_and_identifiers_find_one_resource(of, release):
    made = json.loads(as_fhir(of, header(), release))
    urls = [entry["fullUrl"] for entry in made["entry"]]
    assert len(set(urls)) == len(urls)

    def references(node):
        if isinstance(node, dict):
            yield from ([node["reference"]] if "reference" in node else [])
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    assert set(references(made)) <= set(urls)
    for entry in made["entry"]:
        assert entry["request"]["method"] == "PUT"
        asked = parse_qs(urlsplit(entry["request"]["url"]).query)
        if asked:
            one = entry["resource"]["identifier"][0]
            assert asked["identifier"] == [f"{one['system']}|{one['value']}"]
    finds = [entry["request"]["url"] for entry in made["entry"]]
    assert len(set(finds)) == len(finds)


def test_the_same_document_is_the_same_bytes_and_another_version_is_another_report():
    assert as_fhir(document(), header()) == as_fhir(document(), header())
    first, second = (json.loads(as_fhir(document(version=v), header()))["entry"][0] for v in ("a", "b"))
    assert first["fullUrl"] != second["fullUrl"]


def test_two_statements_of_one_thing_are_one_observation_and_the_stronger_counts():
    twice = (Finding("nodule", "absent"), Finding("nodule", "present"), Finding("no such finding", "uncertain"))
    made = parsed(document(findings=twice))
    assert finding(made, "nodule").valueCodeableConcept.text == "present"
    assert finding(made, "no such finding").code.coding is None
    assert len(report_of(made).result) == 2


def test_another_release_is_refused():
    with pytest.raises(UsageError, match="Allowed: R4, R5"):
        bundle(document(), header(), "STU3")


@settings(max_examples=40)
@given(texts)
def test_any_text_reads_back(text):
    of = document(Report(text, ""), findings=tuple(extract(REPORT)) if text == "" else ())
    for release in MODELS:
        said = clean(text).strip()
        assert report_of(parsed(of, release)).conclusion == f"[AI draft, not verified] {said}".strip()
        held = base64.b64decode(forms_of(as_fhir(of, header(), release))[0]["data"]).decode()
        assert said in held


def test_a_signer_without_number_or_place():
    made = parsed(document().sign(type(SIGNATURE)("J. Doe", SIGNATURE.time)))
    (signer,) = resources(made, "Practitioner")
    assert len(signer.identifier) == 1
    assert signer.name[0].text == "J. Doe"
