"""Small data sets in the layouts of the real ones, with made-up texts; every number and word in them is invented."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from studies_files import dicom, save

CLEAR = "The lungs are clear. No pneumothorax."
EFFUSION = "Small left pleural effusion."
PATIENTS = ("19000001", "19000002", "19000003")
STUDIES = ("59000001", "59000002", "59000003", "59000004")


def picture(path: Path, shade: int = 90, *, bits: int = 8, size: int = 40) -> Path:
    """Write a picture in which every shade looks another way, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = (np.arange(size * size).reshape(size, size) + shade) % 200
    if bits == 8:
        PilImage.fromarray(ramp.astype(np.uint8)).save(path)
    else:
        PilImage.fromarray((ramp * 15).astype(np.uint16)).save(path)  # up to 3000: 12 bits of 16
    return path


def table(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write a CSV, packed where its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    data = text.getvalue().encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as pack:
            pack.writestr(path.stem, data)
        return path
    path.write_bytes(data)
    return path


def dump(path: Path, data: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, ensure_ascii=False), "utf-8")
    return path


# ---- Open-i ----------------------------------------------------------------------------------------------------------


def openi_xml(uid: int, sections: dict[str, str], images: list[str]) -> str:
    body = "".join(f'<AbstractText Label="{name}">{text}</AbstractText>' for name, text in sections.items())
    shown = "".join(
        f'<parentImage id="CXR{uid}_{image}"><caption>PA and lateral</caption></parentImage>' for image in images
    )
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<eCitation><uId id="CXR{uid}"/><MedlineCitation><Article><Abstract>'
        f"{body}</Abstract></Article></MedlineCitation><MeSH><major>normal</major></MeSH>{shown}</eCitation>"
    )


def openi(root: Path, *, archive: bool = False) -> Path:
    """Three studies: two images and both sections; XXXX and None; no text at all."""
    reports = {
        1: openi_xml(
            1,
            {
                "COMPARISON": "None.",
                "INDICATION": "Cough for XXXX weeks",
                "FINDINGS": CLEAR,
                "IMPRESSION": "Normal chest.",
            },
            ["IM-0001-1001", "IM-0001-2001"],
        ),
        2: openi_xml(
            2,
            {"COMPARISON": "XXXX, XXXX.", "INDICATION": "", "FINDINGS": f"{EFFUSION} XXXX scarring.", "IMPRESSION": ""},
            ["IM-0002-1001"],
        ),
        3: openi_xml(3, {"FINDINGS": " ", "IMPRESSION": "None"}, ["IM-0003-1001"]),
    }
    (root / "ecgen-radiology").mkdir(parents=True, exist_ok=True)
    for uid, text in reports.items():
        (root / "ecgen-radiology" / f"{uid}.xml").write_text(text, "utf-8")
    for number, name in enumerate(("CXR1_IM-0001-1001", "CXR1_IM-0001-2001", "CXR2_IM-0002-1001", "CXR3_IM-0003-1001")):
        picture(root / "NLMCXR_png" / f"{name}.png", 10 * number)
    table(root / "splits.csv", [{"study_id": "CXR1", "split": "train"}, {"study_id": "CXR2", "split": "val"}])
    if archive:
        with tarfile.open(root / "NLMCXR_reports.tgz", "w:gz") as pack:
            pack.add(root / "ecgen-radiology", "ecgen-radiology")
        for path in (root / "ecgen-radiology").iterdir():
            path.unlink()
        (root / "ecgen-radiology").rmdir()
    return root


def kaggle(root: Path) -> Path:
    columns = ("uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression")
    rows = [
        ("1", "normal", "normal", "PA and lateral", "Cough for XXXX weeks", "None.", CLEAR, "Normal chest."),
        ("2", "Effusion", "Effusion", "PA", "", "XXXX, XXXX.", f"{EFFUSION} XXXX scarring.", ""),
        ("3", "normal", "normal", "PA", "", "", "", "None"),
    ]
    table(root / "indiana_reports.csv", [dict(zip(columns, row, strict=True)) for row in rows])
    images = [("1", "1_IM-0001-2001.dcm.png", "Lateral"), ("1", "1_IM-0001-1001.dcm.png", "Frontal"), ("2", "2_IM-0002-1001.dcm.png", "Frontal"),
              ("3", "3_IM-0003-1001.dcm.png", "Frontal")]  # fmt: skip
    table(
        root / "indiana_projections.csv",
        [dict(zip(("uid", "filename", "projection"), row, strict=True)) for row in images],
    )
    for number, (_, name, _) in enumerate(images):
        picture(root / "images" / "images_normalized" / name, 10 * number)
    return root


def r2gen(root: Path) -> Path:
    def entry(key: str, text: str, split: str, images: int = 2) -> dict[str, object]:
        return {"id": key, "report": text, "image_path": [f"{key}/{n}.png" for n in range(images)], "split": split}

    data = {
        "train": [entry("CXR1_1_IM-0001-001", CLEAR, "train"), entry("CXR5_IM-2117", EFFUSION, "train")],
        "val": [entry("CXR2_IM-0002", f"{EFFUSION} XXXX scarring.", "val")],
        "test": [entry("CXR4_IM-2050", "Findings: Clear. Impression: Normal.", "test")],
    }
    for part in data.values():
        for one in part:
            for number, name in enumerate(one["image_path"]):
                picture(root / "images" / name, 10 * number)
    dump(root / "annotation.json", data)
    return root


# ---- MIMIC-CXR -------------------------------------------------------------------------------------------------------

MIMIC_TEXTS = {
    STUDIES[
        0
    ]: " \n                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n INDICATION:  ___ year old with"
    " cough // pneumonia? \n \n COMPARISON:  None.\n \n FINDINGS: \n \n The lungs are clear.\n No pneumothorax.\n \n"
    " IMPRESSION: \n \n Normal chest.\n",
    STUDIES[
        1
    ]: " FINAL REPORT\n HISTORY:  Fever.\n \n COMPARISON:  ___.\n \n FINDINGS:  Small left pleural effusion, new from\n ___.\n",
    STUDIES[2]: " FINAL REPORT\n CHEST RADIOGRAPH\n \n INDICATION:  Fall.\n \n The heart is large.\n \n No fracture.\n",
    STUDIES[3]: " FINAL REPORT\n INDICATION:  Cough.\n",
}
MIMIC_IMAGES = [  # dicom, patient, study, view, view code, date, time, split
    ("aaaa0001", PATIENTS[0], STUDIES[0], "LATERAL", "lateral", "21500103", "90502.25", "train"),
    ("aaaa0002", PATIENTS[0], STUDIES[0], "PA", "postero-anterior", "21500103", "90455.0", "train"),
    ("aaaa0003", PATIENTS[0], STUDIES[1], "", "antero-posterior", "21500101", "213014.531", "train"),
    ("aaaa0004", PATIENTS[1], STUDIES[2], "PA LLD", "", "21600101", "120000.0", "validate"),
    ("aaaa0005", PATIENTS[2], STUDIES[3], "AP", "antero-posterior", "21700101", "120000.0", "test"),
]


def mimic_path(patient: str, study: str) -> str:
    return f"files/p{patient[:2]}/p{patient}/s{study}"


def mimic(root: Path, *, gz: bool = True, packed: bool = False, suffix: str = ".jpg") -> Path:
    """Two studies of a patient in the wrong order of their numbers, one with paragraphs alone, one without any report."""
    end = ".csv.gz" if gz else ".csv"
    names = (
        "dicom_id",
        "subject_id",
        "study_id",
        "ViewPosition",
        "ViewCodeSequence_CodeMeaning",
        "StudyDate",
        "StudyTime",
    )
    table(root / f"mimic-cxr-2.0.0-metadata{end}", [dict(zip(names, row, strict=False)) for row in MIMIC_IMAGES])
    table(
        root / f"mimic-cxr-2.0.0-split{end}",
        [{"dicom_id": row[0], "study_id": row[2], "subject_id": row[1], "split": row[7]} for row in MIMIC_IMAGES],
    )
    table(
        root / f"mimic-cxr-2.0.0-chexpert{end}",
        [
            {
                "subject_id": PATIENTS[0],
                "study_id": STUDIES[1],
                "Atelectasis": "",
                "Pleural Effusion": "1.0",
                "Pneumonia": "-1.0",
            }
        ],
    )
    for number, (dicom_id, patient, study, *_) in enumerate(MIMIC_IMAGES):
        path = root / mimic_path(patient, study) / f"{dicom_id}{suffix}"
        if suffix == ".dcm":
            path.parent.mkdir(parents=True, exist_ok=True)
            grey = np.arange(1600, dtype=np.uint8).reshape(40, 40)
            save(
                dicom(
                    grey, ViewPosition=MIMIC_IMAGES[number][3], StudyDate=MIMIC_IMAGES[number][5], StudyTime="120000"
                ),
                path,
            )
        else:
            picture(path, 10 * number)
    folders = {study: mimic_path(patient, study) for _, patient, study, *_ in MIMIC_IMAGES}
    if packed:
        with zipfile.ZipFile(root / "mimic-cxr-reports.zip", "w") as pack:
            for study, text in MIMIC_TEXTS.items():
                pack.writestr(f"{folders[study]}.txt", text)
    else:
        for study, text in MIMIC_TEXTS.items():
            (root / f"{folders[study]}.txt").write_text(text, "utf-8")
    return root


# ---- the others ------------------------------------------------------------------------------------------------------


def chexpert_plus(root: Path, suffix: str = ".png") -> Path:
    def row(
        patient: int, study: int, view: str, order: int, findings: str, impression: str, **more: str
    ) -> dict[str, object]:
        path = f"train/patient{patient:05d}/study{study}/{view}.jpg"
        picture(root / "PNG" / Path(path).with_suffix(suffix), 7 * order + 3 * len(view))
        return {
            "path_to_image": path, "path_to_dcm": path.replace(".jpg", ".dcm"),
            "frontal_lateral": "Lateral" if "lateral" in view else "Frontal", "ap_pa": "" if "lateral" in view else "AP",
            "deid_patient_id": f"patient{patient:05d}", "patient_report_date_order": order,
            "report": "NARRATIVE:\nChest 1 View, 8-8-2005", "section_narrative": "Chest 1 View, 8-8-2005",
            "section_clinical_history": "61 years, cough", "section_history": "", "section_comparison": "8/8/2005.",
            "section_technique": "", "section_procedure_comments": "", "section_findings": findings,
            "section_impression": impression, "section_end_of_impression": "2-ABNORMAL", "section_summary": "",
            "section_accession_number": "1234567", "age": "61.0", "sex": "Female", "split": "train", **more,
        }  # fmt: skip

    table(
        root / "df_chexpert_plus_240401.csv",
        [
            row(1, 7, "view2_lateral", 2, "", "1. SMALL EFFUSION.\n\n2. NO PNEUMOTHORAX."),
            row(1, 2, "view1_frontal", 1, "Clear lungs.", ""),
            row(1, 7, "view1_frontal", 2, "", "1. SMALL EFFUSION.\n\n2. NO PNEUMOTHORAX seen on 9-9-2005."),
            row(2, 1, "view1_frontal", 1, "\n", ""),
            row(3, 1, "view1_frontal", 1, "Normal.", "", split="valid"),
        ],
    )
    return root


def rexgradient(root: Path) -> Path:
    def entry(patient: str, study: str, date: object, images: list[tuple[str, str]], **texts: str) -> dict[str, object]:
        paths = [
            f"../deid_png/{patient}/ACC{study}/studies/{study}/series/1.2/instances/{name}.png" for name, _ in images
        ]
        for number, path in enumerate(paths):
            picture(root / path.removeprefix("../"), 10 * number + len(study))
        return {
            "PatientID": patient, "AccessionNumber": f"ACC{study}", "StudyInstanceUid": study, "StudyDate": date,
            "PatientSex": "F", "PatientAge": "054Y", "ImagePath": paths, "ImageViewPosition": [view for _, view in images],
            "Indication": "Cough", "Comparison": "None", "Findings": "", "Impression": "", **texts,
        }  # fmt: skip

    train = {
        "pA_a2_s9.2": entry(
            "GRDNA", "9.2", "20110305", [("x1", "LATERAL"), ("x2", "POSTERO_ANTERIOR")], Findings=EFFUSION
        ),
        "pA_a1_s9.9": entry(
            "GRDNA", "9.9", 20110301, [("y1", "AP")], Findings=CLEAR, Impression="Normal.", Comparison="Last week."
        ),
        "pB_a3_s9.3": entry("GRDNB", "9.3", "", [("z1", "PA")], Findings="None", Impression="none"),
    }
    dump(root / "metadata" / "train_metadata_view_position.json", train)
    dump(
        root / "metadata" / "valid_metadata_view_position.json",
        {"pC_a4_s9.4": entry("GRDNC", "9.4", "20120101", [("w1", "PA")], Impression=CLEAR)},
    )
    return root


def padchest_gr(root: Path, master: str = "master_table.csv") -> Path:
    def sentence(en: str, es: str, abnormal: bool) -> dict[str, object]:
        return {
            "sentence_en": en,
            "sentence_es": es,
            "abnormal": abnormal,
            "boxes": [[0.1, 0.1, 0.2, 0.2]],
            "labels": ["x"],
        }

    entries = [
        {
            "StudyID": "251", "ImageID": "i251.png", "PreviousStudyID": "240", "PreviousImageID": "i240.png",
            "findings": [sentence("Small left effusion.", "Pequeño derrame izquierdo.", True), sentence("Clear right lung.", "Derecho libre.", False)],
        },
        {"StudyID": "252", "ImageID": "i252.png", "PreviousStudyID": None, "PreviousImageID": None, "findings": [sentence("Normal.", "Normal.", False)]},
        {"StudyID": "253", "ImageID": "i253.png", "PreviousStudyID": "251", "PreviousImageID": "i251.png", "findings": [sentence("Effusion is gone.", "Sin derrame.", False)]},
        {"StudyID": "299", "ImageID": "i252.png", "PreviousStudyID": None, "PreviousImageID": None, "findings": [sentence("Not listed.", "No.", False)]},
    ]  # fmt: skip
    dump(root / "grounded_reports_20240819.json", entries)

    def about(study: str, patient: str, split: str, date: str) -> dict[str, object]:
        return {"StudyID": study, "ImageID": f"i{study}.png", "PatientID": patient, "split": split, "PatientAge": "70",
                "PatientSex_DICOM": "M", "StudyDate_DICOM": date, "label_group": "x"}  # fmt: skip

    table(root / master, [about("251", "P7", "train", "20140201"), about("251", "P7", "train", "20140201"),
                          about("252", "P8", "validation", "20140301"), about("253", "P7", "train", "20140501")])  # fmt: skip
    for study in ("251", "252", "253"):
        picture(root / "Padchest_GR_files" / "PadChest_GR" / f"i{study}.png", int(study), bits=16)
    picture(root / "PadChest_GR_progression_prior_studies" / "i240.png", 5, bits=16)
    return root


def cov_ctr(root: Path) -> Path:
    def row(image: str, text: str, impression: str = "印象") -> dict[str, object]:
        return {
            "image_id": image,
            "findings": "双肺纹理清晰",
            "terminologies": "清晰",
            "COVID": "0",
            "impression": impression,
            "reports_En": text + "\n",
        }

    rows = [
        row("20.jpg", "Clear lungs."),
        row("83%2.jpg", "Ground glass."),
        row("9%1.png", "One."),
        row("9%1.png", "Another."),
    ]
    table(root / "COV-CTR" / "reports_ZH_EN.csv", rows)
    for number, name in enumerate(("20.jpg", "83%2.jpg", "9%1.png", "unused.png")):
        picture(root / "COV-CTR" / name, 10 * number)
    return root


def rexrank(root: Path) -> Path:
    entries = {
        "s1": {"image_path": ["a/1.png", "a/2.png"], "key_image_path": "a/2.png", "frontal_lateral": ["lateral", "frontal"],
               "context": "Age:50-60.Gender:M.Indication: Cough. Comparison: None.", "section_findings": CLEAR,
               "section_impression": "None", "report": "x"},
        "s2": {"image_path": ["b/1.png"], "report": "FINDINGS: Clear. IMPRESSION: Normal.", "context": "Age:54.Gender:F.Indication: None"},
        "s3": {"image_path": ["b/1.png"], "context": "Indication: Fall."},
    }  # fmt: skip
    for number, name in enumerate(("a/1.png", "a/2.png", "b/1.png")):
        picture(root / "images" / name, 10 * number)
    return dump(root / "iu_test.json", entries)


def llava(root: Path, form: str = "llava") -> Path:
    for number, name in enumerate(("a.png", "b.png", "c.png")):
        picture(root / "images" / name, 10 * number)

    def turns(*answers: str) -> list[dict[str, str]]:
        made = []
        for answer in answers:
            made += [{"from": "human", "value": "<image>\nDescribe."}, {"from": "gpt", "value": answer}]
        return made

    if form == "llava":
        entries = [
            {
                "id": "q1",
                "image": "a.png",
                "conversations": turns(CLEAR),
                "reason": "Cough",
                "view": "PA",
                "split": "train",
                "subject_id": 7,
            },
            {
                "id": "q2",
                "image": ["a.png", "b.png"],
                "conversations": turns("Findings: Large heart. Impression: Cardiomegaly."),
            },
            {"id": "q3", "image": "c.png", "conversations": turns("Yes.", "No.")},
        ]
        return dump(root / "train.json", entries)
    rows = [
        {"messages": [{"role": "user", "content": "<image>Describe."}, {"role": "assistant", "content": CLEAR}], "images": ["a.png"], "id": "q1"},
        {"messages": [{"role": "assistant", "content": [{"type": "text", "text": EFFUSION}]}], "images": [{"path": "b.png"}], "id": "q2"},
    ]  # fmt: skip
    path = root / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"half', "utf-8")
    return path


def plain(root: Path, form: str = "csv") -> Path:
    for number, name in enumerate(("a.png", "b-1.png", "b-2.png", "deep/c.png")):
        picture(root / "images" / name, 10 * number)
    rows = [
        {"study": "a", "findings": CLEAR, "impression": "Normal.", "patient": "p1", "date": "2020-01-02", "split": "train", "scanner": "X"},
        {"study": "b", "findings": EFFUSION, "impression": "", "patient": "p1", "date": "2020-01-01", "split": "train", "scanner": "X"},
        {"study": "c", "findings": "None", "impression": "", "patient": "p2", "date": "", "split": "test", "scanner": "Y"},
        {"study": "d", "findings": "Clear.", "impression": "", "patient": "p2", "date": "", "split": "test", "scanner": "Y"},
    ]  # fmt: skip
    if form == "csv":
        return table(root / "reports.csv", rows)
    path = root / "reports.jsonl"
    images = {"a": ["a.png"], "b": ["b-1.png", "b-2.png"], "c": "deep/c.png", "d": "a/../../etc/x.png"}
    path.write_text("".join(json.dumps({**row, "images": images[row["study"]]}) + "\n" for row in rows), "utf-8")
    return path
