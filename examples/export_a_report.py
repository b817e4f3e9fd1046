"""From a draft to the files that hospitals' systems read, before and after somebody signs it."""

import json
import tempfile
from pathlib import Path

import pydicom

from wetread import models
from wetread.export import FORMATS
from wetread.knowledge import extract
from wetread.records import Report, Sampling, Signature
from wetread.runs import exporting
from wetread.runs.draft import draft
from wetread.studies import open_study, phantom

with tempfile.TemporaryDirectory() as home:
    phantom.write(Path(home) / "made", 1, seed=7, format="dicom")  # a phantom radiograph, so that there is a file to read
    study = open_study(next((Path(home) / "made").rglob("*.dcm")))
    model = models.open_model("template")
    (record,) = draft([study], model, sampling=Sampling())

    document = exporting.document_of(record, study, models.version("template", model))
    header = exporting.header_for(document, study)  # patient and study, in memory alone
    exporting.write(document, header, Path(home), tuple(FORMATS), "draft")

    corrected = Report("The lungs are clear. Small left pleural effusion.", "Small left pleural effusion.")
    signature = Signature("Doe, Jane", "2027-01-05T14:30:00+01:00", "Example Hospital")
    signed = document.sign(signature, corrected, tuple(extract(corrected)))
    done = exporting.write(signed, header, Path(home), tuple(FORMATS), "signed")

    for path in done.files:
        print(path.name, path.stat().st_size, "bytes")
    for name in ("draft", "signed"):
        structured = pydicom.dcmread(Path(home) / f"{name}.sr.dcm")
        bundle = json.loads((Path(home) / f"{name}.fhir.json").read_text())
        print(name, structured.VerificationFlag, bundle["entry"][0]["resource"]["status"])
