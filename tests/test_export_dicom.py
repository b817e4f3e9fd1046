"""DICOM Structured Report and Encapsulated PDF, read back by pydicom, highdicom, dcmtk and dicom3tools."""

from dataclasses import replace
from io import BytesIO

import pydicom
import pytest
from highdicom.sr import srread
from hypothesis import given, settings
from pydicom.sr import _concepts_dict
from pydicom.uid import ComprehensiveSRStorage, EncapsulatedPDFStorage

from export_documents import REPORT, STUDY_UID, dataset, document, header, program, run, signed, texts
from wetread.export import codes
from wetread.export.dicom_pdf import as_dicom_pdf
from wetread.export.dicom_sr import as_sr
from wetread.export.header import header_of
from wetread.export.pdf import as_pdf
from wetread.export.uids import uid_of
from wetread.export.wording import clean
from wetread.knowledge import Code, extract, load
from wetread.records import Image, Report, Signature


def read(data):
    return pydicom.dcmread(BytesIO(data))


def named(item):
    return item.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in item else ""


def inside(item, name):
    """Items of that concept name right under an item."""
    return [one for one in item.get("ContentSequence", ()) if named(one) == name]


def section(data, heading, name):
    """Text of a section; None where it is not there."""
    found = inside(data, heading)
    return inside(found[0], name)[0].TextValue if found else None


def groups(data):
    """Finding to what is said of it: concept name to value, and the place with its side."""
    found = {}
    for group in inside(inside(data, "Imaging Measurements")[0], "Measurement Group"):
        said = {named(one): one for one in group.ContentSequence}
        values = {
            name: one.ConceptCodeSequence[0].CodeMeaning if one.ValueType == "CODE" else one.get("TextValue")
            for name, one in said.items()
        }
        if "Finding Site" in said and "ContentSequence" in said["Finding Site"]:
            values["side of site"] = said["Finding Site"].ContentSequence[0].ConceptCodeSequence[0].CodeMeaning
        found[values["Tracking Identifier"].split(": ")[1]] = values
    return found


def test_a_draft_is_unverified_and_preliminary_and_says_so_in_words():
    data = read(as_sr(document(), header()))
    assert data.SOPClassUID == ComprehensiveSRStorage
    flags = (data.CompletionFlag, data.VerificationFlag, data.PreliminaryFlag)
    assert flags == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert "VerifyingObserverSequence" not in data
    assert data.SeriesDescription == data.CompletionFlagDescription == "AI draft, not verified"
    (note,) = inside(data, "Comment")
    assert note.TextValue.startswith("AI draft, not verified. ")
    assert "demo, version 3f2a91c07b5d4e10" in note.TextValue


def test_a_draft_that_was_cut_is_partial():
    assert read(as_sr(document(complete=False), header())).CompletionFlag == "PARTIAL"


def test_a_signed_report_is_verified_final_and_follows_the_draft():
    draft, data = read(as_sr(document(), header())), read(as_sr(signed(), header()))
    assert (data.CompletionFlag, data.VerificationFlag, data.PreliminaryFlag) == ("COMPLETE", "VERIFIED", "FINAL")
    (who,) = data.VerifyingObserverSequence
    assert (who.VerifyingObserverName, who.VerifyingOrganization) == ("Doe^Jane", "Example Hospital")
    assert who.VerificationDateTime == "20270106080000+0000"
    (before,) = data.PredecessorDocumentsSequence
    (series,) = before.ReferencedSeriesSequence
    assert before.StudyInstanceUID == STUDY_UID
    assert series.SeriesInstanceUID == draft.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == draft.SOPInstanceUID
    assert data.SOPInstanceUID != draft.SOPInstanceUID
    assert data.SeriesInstanceUID != draft.SeriesInstanceUID
    assert "not verified" not in str(data)
    assert inside(data, "Person Observer Name")[0].PersonName == "Doe^Jane"


def test_a_signer_without_an_organization_is_not_refused():
    one = document().sign(Signature("J. Doe", "2027-01-06T09:00:00Z"))
    (who,) = read(as_sr(one, header())).VerifyingObserverSequence
    assert (who.VerifyingObserverName, who.VerifyingOrganization) == ("J. Doe^", "not stated")


@pytest.mark.parametrize("made", [as_sr, as_dicom_pdf])
def test_it_lies_in_the_study_of_the_source_with_its_patient(made):
    data = read(made(document(), header()))
    source = dataset()
    for keyword in ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
                    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID", "StudyDescription"):  # fmt: skip
        assert data[keyword].value == source[keyword].value, keyword
    assert data.SeriesInstanceUID not in (source.SeriesInstanceUID, source.StudyInstanceUID)
    assert data.ContentDate == "20270105"


@pytest.mark.parametrize("made", [as_sr, as_dicom_pdf])
def test_the_model_stands_in_the_equipment(made):
    data = read(made(document(), header()))
    equipment = data.ContributingEquipmentSequence[0]
    for one in (data, equipment):
        assert one.ManufacturerModelName == "demo"
        assert one.SoftwareVersions[0] == "3f2a91c07b5d4e10"
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Equipment"
    assert equipment.ContributionDateTime == "20270105210500+0000"


@pytest.mark.parametrize("made", [as_sr, as_dicom_pdf])
def test_the_same_study_and_version_are_the_same_object(made):
    assert made(document(), header()) == made(document(), header())
    first, second = (read(made(document(version=version), header())) for version in ("a", "b"))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    other = read(made(document(version="a"), header(StudyInstanceUID="1.2.3")))
    assert other.SOPInstanceUID != first.SOPInstanceUID


def test_findings_are_coded_with_side_place_grade_and_change():
    found = groups(read(as_sr(document(), header())))
    assert found["pleural effusion"] | {"Comment": ""} == {
        "Tracking Identifier": "2: pleural effusion",
        "Tracking Unique Identifier": None,
        "Finding": "Pleural effusion",
        "Algorithm Name": "demo",
        "Algorithm Version": "3f2a91c07b5d4e10",
        "Presence of property": "Present",
        "Laterality": "Left",
        "Severity": "Mild",
        "Change since the prior study": "increased",
        "Comment": "",
    }
    assert found["consolidation"]["Finding Site"] == "Lower zone of lung"
    assert found["consolidation"]["side of site"] == "Right"
    assert "Laterality" not in found["consolidation"]
    assert found["pneumothorax"]["Presence of property"] == "Absent"
    assert found["pneumonia"]["Presence of property"] == "Undetermined"
    assert found["cardiomegaly"]["Comment"] == "heart is mildly enlarged"
    assert found["endotracheal tube"]["Location as stated"] == "well placed"


def test_images_are_referred_to_and_are_the_evidence():
    data = read(as_sr(document(), header()))
    (group,) = inside(inside(data, "Image Library")[0], "Image Library Group")
    (image,) = inside(group, "Source")
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == f"{STUDY_UID}.1.1"
    assert inside(group, "Modality")[0].ConceptCodeSequence[0].CodeValue == "CR"
    (evidence,) = data.CurrentRequestedProcedureEvidenceSequence
    assert evidence.StudyInstanceUID == STUDY_UID
    source = read(as_dicom_pdf(document(), header())).SourceInstanceSequence[0]
    assert source.ReferencedSOPInstanceUID == f"{STUDY_UID}.1.1"


def test_the_tree_is_a_measurement_report_to_highdicom(tmp_path):
    (tmp_path / "a.sr.dcm").write_bytes(as_sr(document(), header()))
    found = srread(tmp_path / "a.sr.dcm")
    assert found.content[0].ContentTemplateSequence[0].TemplateIdentifier == "1500"
    measured = found.content.get_image_measurement_groups()
    assert len(measured) == len(document().findings)
    assert measured[1].finding_type.meaning == "Pleural effusion"
    assert [one.value.meaning for one in measured[1].get_qualitative_evaluations()][:2] == ["Present", "Left"]


def test_a_report_without_findings_has_no_measurements():
    data = read(as_sr(document(Report("", "Nothing that rules can read."), findings=()), header()))
    assert inside(data, "Imaging Measurements") == []
    assert inside(inside(data, "Qualitative Evaluations")[0], "Finding")[0].TextValue.startswith("No finding")
    assert section(data, "Findings", "Finding") is None
    assert section(data, "Impressions", "Impression") == "Nothing that rules can read."


def test_the_pdf_inside_is_the_readable_report():
    data = read(as_dicom_pdf(document(), header()))
    assert data.SOPClassUID == EncapsulatedPDFStorage
    assert data.EncapsulatedDocument[: data.EncapsulatedDocumentLength] == as_pdf(document())
    assert (data.Modality, data.MIMETypeOfEncapsulatedDocument) == ("DOC", "application/pdf")
    assert (data.VerificationFlag, data.BurnedInAnnotation) == ("UNVERIFIED", "NO")
    assert data.DocumentTitle == "Chest radiograph report: AI draft, not verified"
    assert read(as_dicom_pdf(signed(), header())).VerificationFlag == "VERIFIED"


def test_pictures_become_studies_of_their_own():
    one, other = document(images=(Image("film.png"),), digest="a"), document(images=(Image("film.png"),), digest="b")
    made = [read(as_sr(of, header_of(of, []))) for of in (one, other)]
    assert made[0].StudyInstanceUID != made[1].StudyInstanceUID
    assert made[0].PatientID != made[1].PatientID
    assert made[0].PatientName == "UNIDENTIFIED^"
    assert "CurrentRequestedProcedureEvidenceSequence" not in made[0]
    assert "SourceInstanceSequence" not in read(as_dicom_pdf(one, header_of(one, [])))


def test_times_are_those_of_the_header_s_zone():
    data = read(as_sr(document(), header(TimezoneOffsetFromUTC="+0530")))
    assert (data.ContentDate, data.ContentTime, data.TimezoneOffsetFromUTC) == ("20270106", "023500", "+0530")
    assert "TimezoneOffsetFromUTC" not in read(as_sr(document(), header()))


@settings(max_examples=60)
@given(texts, texts)
def test_any_text_reads_back(findings, impression):
    data = read(as_sr(document(Report(findings, impression), findings=()), header()))
    assert section(data, "Findings", "Finding") == (clean(findings).strip() or None)
    assert section(data, "Impressions", "Impression") == (clean(impression).strip() or None)


@settings(max_examples=30)
@given(texts)
def test_any_name_of_model_version_and_signer_can_be_written(text):
    of = document(model=text, version=text, study=text or "x", notes=(text,))
    of = of.sign(Signature(f"Doe {text}", "2027-01-06T09:00:00Z", text, text))
    for made in (as_sr, as_dicom_pdf):
        data = read(made(of, header()))
        assert data.StudyInstanceUID == STUDY_UID
        assert len(data.ManufacturerModelName) <= 64


# ---- headers that break the standard -------------------------------------------------------------------------------


@pytest.mark.parametrize("uid", [None, "", "1.2.abc", "1" * 65, "not a uid"])
def test_without_a_study_uid_the_export_is_a_study_of_its_own_and_says_so(uid):
    made = dataset(StudyInstanceUID=None)
    if uid:
        made.add_new("StudyInstanceUID", "LO", uid[:64]) if len(uid) <= 64 else made.add_new(
            "StudyInstanceUID", "LT", uid
        )
    head = header_of(document(), [made])
    assert head.placeholder
    assert any("Study Instance UID (0020,000D)" in note for note in head.notes)
    assert head.images == ()
    assert read(as_sr(document(), head)).StudyInstanceUID == uid_of("study", "ward/film1", "ab12")


@pytest.mark.parametrize(
    ("keyword", "value", "tag"),
    [
        ("PatientID", "X" * 65, "(0010,0020)"),
        ("PatientID", "A\x07B", "(0010,0020)"),
        ("PatientName", "Phantom^" + "N" * 80, "(0010,0010)"),
        ("PatientName", "A^B^C^D^E^F^G", "(0010,0010)"),
        ("PatientBirthDate", "19991399", "(0010,0030)"),
        ("PatientSex", "unknown", "(0010,0040)"),
        ("StudyDate", "99999999", "(0008,0020)"),
        ("StudyTime", "256199", "(0008,0030)"),
        ("AccessionNumber", "1234567890123456789", "(0008,0050)"),
    ],
)
def test_absurd_values_are_left_out_with_their_tag_and_not_their_value(keyword, value, tag):
    made = dataset()
    del made[keyword]
    made.add_new(keyword, "LT", value)
    head = header_of(document(), [made])
    (note,) = head.notes
    assert tag in note
    assert value not in note
    data = read(as_sr(document(), head))
    assert not data[keyword].value
    assert data.StudyInstanceUID == STUDY_UID


def test_what_the_first_image_lacks_is_taken_from_the_next():
    head = header_of(document(), [dataset(PatientID=None), dataset(SOPInstanceUID=f"{STUDY_UID}.1.2")])
    assert head.get("PatientID") == "PHANTOM-1"
    assert [image.instance for image in head.images] == [f"{STUDY_UID}.1.1", f"{STUDY_UID}.1.2"]


def test_a_header_that_fails_in_every_way_is_still_a_study():
    class Broken(dict):
        def get(self, keyword):
            raise ValueError(keyword)

    head = header_of(document(), [Broken()])
    assert head.placeholder
    read(as_sr(document(), head))


@pytest.mark.parametrize("name", ["M\u00fcller^J\u00fcrgen", "Phantom^Nobody=\u5c71\u7530^\u592a\u90ce", "\u0418\u0432\u0430\u043d\u043e\u0432^\u0418\u0432\u0430\u043d"])  # fmt: skip
def test_names_of_other_scripts_are_kept(name):
    head = header(SpecificCharacterSet="ISO_IR 192", PatientName=name)
    assert str(read(as_sr(document(), head)).PatientName) == name


def test_only_what_the_standard_needs_is_taken_over():
    secret = {"PatientComments": "SECRETX", "OtherPatientIDs": "SECRETX", "PatientAddress": "SECRETX",
              "InstitutionName": "SECRETX", "OperatorsName": "SECRETX", "PatientTelephoneNumbers": "SECRETX",
              "RequestingPhysician": "SECRETX", "ReasonForStudy": "SECRETX", "AdditionalPatientHistory": "SECRETX"}  # fmt: skip
    head = header(**secret)
    for made in (as_sr, as_dicom_pdf):
        assert b"SECRETX" not in made(document(), head)


# ---- codes ---------------------------------------------------------------------------------------------------------


def published():
    """Every published code that exports use, of the knowledge file and of what is said of findings."""
    known = load()
    yield from (code for spec in known.findings.values() for code in spec.codes)
    yield from (code for place in known.locations for code in place.codes)
    yield from (
        code for table in (codes.PRESENCES, codes.SIDES, codes.SEVERITIES, codes.CHANGES) for code in table.values()
    )
    yield from (value for value in vars(codes).values() if isinstance(value, Code))


def test_codes_are_those_of_dicom_s_own_tables():
    """pydicom's dictionary is made from PS3.16; RadLex is not in it and is checked by hand (docs/export.md)."""
    tables = _concepts_dict.concepts
    checked = 0
    for code in published():
        if code.scheme in ("RADLEX", codes.PRIVATE):
            continue
        meanings = {
            meaning.split(" (")[0].casefold()
            for entries in tables[code.scheme].values()
            for value, (meaning, _) in entries.items()
            if value == code.value
        }
        assert code.meaning.casefold() in meanings, code
        checked += 1
    assert checked > 30


def test_codes_have_a_system_and_no_code_stands_for_two_findings():
    known = load()
    for code in published():
        assert code.scheme in codes.SYSTEMS or code.scheme == codes.PRIVATE
        assert code.scheme != "RADLEX" or code.value.startswith("RID")
    owners = [(code.scheme, code.value) for spec in known.findings.values() for code in spec.codes]
    assert len(set(owners)) == len(owners)
    mine = [codes.own(name).value for name in known.findings]
    assert len(set(mine)) == len(mine)


# ---- other programs ------------------------------------------------------------------------------------------------

CASES = {
    "draft": (document(), header()),
    "signed": (signed(), header()),
    "placeholder": (document(), header_of(document(), [])),
    "no findings": (document(Report("", "Normal \u4e2d\u6587."), findings=()), header()),
    "long": (document(Report("Clear lungs. " * 2000, ""), findings=tuple(extract(REPORT))), header()),
}


@pytest.mark.parametrize("case", CASES)
def test_dcmtk_reads_the_structured_report(case, tmp_path):
    dsrdump = program("dsrdump", "dcmtk")
    of, head = CASES[case]
    (tmp_path / "a.dcm").write_bytes(as_sr(of, head))
    done = run(dsrdump, "+Pl", tmp_path / "a.dcm")
    assert done.returncode == 0, done.stderr
    assert "E:" not in done.stderr, done.stderr
    assert f"Verification Flag   : {'VERIFIED' if of.signature else 'UNVERIFIED'}" in done.stdout
    assert f"Preliminary Flag    : {'FINAL' if of.signature else 'PRELIMINARY'}" in done.stdout
    for text in (of.report.impression, of.report.findings[:60]):
        assert " ".join(text.split()) in " ".join(done.stdout.replace("\\n", " ").split())


@pytest.mark.parametrize("case", CASES)
def test_dicom3tools_find_no_error(case, tmp_path):
    dciodvfy = program("dciodvfy", "dicom3tools")
    of, head = CASES[case]
    for name, made in (("sr", as_sr), ("pdf", as_dicom_pdf)):
        (tmp_path / name).write_bytes(made(of, head))
        done = run(dciodvfy, tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "Error" not in done.stderr, done.stderr


def test_dcmtk_takes_the_pdf_out_again(tmp_path):
    dcm2pdf = program("dcm2pdf", "dcmtk")
    (tmp_path / "a.dcm").write_bytes(as_dicom_pdf(signed(), header()))
    done = run(dcm2pdf, tmp_path / "a.dcm", tmp_path / "a.pdf")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.pdf").read_bytes().rstrip(b"\0") == as_pdf(signed()).rstrip(b"\0")


def test_withdrawn_findings_are_not_in_the_signed_report():
    found = groups(read(as_sr(signed(), header())))
    assert "endotracheal tube" not in found
    assert found["consolidation"]["Presence of property"] == "Absent"
    assert replace(signed(), signature=None).status == "AI draft, not verified"
