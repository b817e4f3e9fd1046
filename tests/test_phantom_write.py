"""Writing phantom folders: resumable, the same bytes, refusing folders of other phantoms; DICOM that reads back."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from wetread.errors import RunError, UsageError
from wetread.studies import folder
from wetread.studies.phantom import PhantomConfig, generate, write
from wetread.studies.phantom.sites import SITE


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("format", ["png", "dicom"])
def test_the_same_seed_writes_the_same_bytes(tmp_path, format):
    assert write(tmp_path / "a", 12, 3, 64, format) == 12
    write(tmp_path / "b", 12, 3, 64, format)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_what_is_read_is_what_was_generated(tmp_path):
    write(tmp_path, 40, 2, 64)
    studies = folder.read(tmp_path)
    assert studies == list(generate(40, 2, 64))
    for study, made in zip(studies, generate(40, 2, 64), strict=True):
        assert np.array_equal(study.images[0].pixels(), made.images[0].pixels())
        if study.prior:
            assert np.array_equal(study.prior.images[0].pixels(), made.prior.images[0].pixels())


def test_a_stopped_writing_is_continued(tmp_path):
    write(tmp_path / "whole", 20, 1, 64)
    write(tmp_path / "cut", 8, 1, 64)
    listing = tmp_path / "cut" / "studies.jsonl"
    listing.write_bytes(listing.read_bytes()[:-40])  # the kill came in the middle of a line
    (tmp_path / "cut" / "images" / "phantom-1-000008.png").write_bytes(b"half")  # and in the middle of an image
    seen = []
    assert write(tmp_path / "cut", 20, 1, 64, progress=lambda done, total: seen.append((done, total))) == 13
    assert seen == [(done, 20) for done in range(8, 21)]
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert write(tmp_path / "cut", 20, 1, 64) == 0
    assert write(tmp_path / "cut", 5, 1, 64) == 0


def test_a_killed_process_loses_nothing(tmp_path):
    code = "import sys; from wetread.studies.phantom import write; write(sys.argv[1], 100000, 1, 64, progress=" \
           "lambda done, total: print(done, flush=True))"  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "killed")], stdout=subprocess.PIPE, text=True
    ) as run:
        for line in run.stdout:
            if int(line) == 15:
                run.send_signal(signal.SIGKILL)
                break
    done = (tmp_path / "killed" / "studies.jsonl").read_bytes().count(b"\n")
    assert done >= 15
    assert write(tmp_path / "killed", done + 5, 1, 64) == 5
    write(tmp_path / "whole", done + 5, 1, 64)
    whole, killed = contents(tmp_path / "whole"), contents(tmp_path / "killed")
    assert whole == {name: killed[name] for name in whole}


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"seed": 2}, "seed 1"), ({"size": 65}, "size 64"), ({"format": "dicom"}, "format 'png'"),
     ({"config": PhantomConfig(noise=2.0)}, "noise 1.0")],
)  # fmt: skip
def test_a_folder_of_another_phantom_is_refused(tmp_path, changes, told):
    write(tmp_path, 3, 1, 64)
    with pytest.raises(RunError, match=told):
        write(tmp_path, 4, **{"seed": 1, "size": 64, **changes})


def test_foreign_folders_are_refused(tmp_path):
    (tmp_path / "studies.jsonl").write_text("{}\n")
    with pytest.raises(RunError, match="not from a phantom"):
        write(tmp_path, 1)
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(RunError, match="cannot be written"):
        write(file, 1)
    with pytest.raises(UsageError, match="png and dicom"):
        write(tmp_path / "new", 1, format="jpeg")


def test_dicom_reads_back_as_drawn(tmp_path):
    write(tmp_path, 40, 0, 64, "dicom")
    studies = folder.read(tmp_path)
    assert {study.site for study in studies} == {site.name for site in SITE.values()}
    for study, made in zip(studies, generate(40, 0, 64), strict=True):
        assert np.abs(study.images[0].pixels() - made.images[0].pixels()).max() < 0.002
        assert study.report == made.report


def test_dicom_headers_are_realistic_and_pseudonymous(tmp_path):
    write(tmp_path, 40, 0, 64, "dicom")
    studies = folder.read(tmp_path)
    kinds = set()
    for study in studies:
        ds = pydicom.dcmread(tmp_path / study.images[0].name)
        assert ds.PatientID == study.patient and str(ds.PatientName).startswith("PHANTOM^")
        assert ds.BodyPartExamined == "CHEST" and ds.ViewPosition == study.images[0].view
        assert ds.Manufacturer == "wetread phantom" and ds.BurnedInAnnotation == "NO"
        assert ds.StudyDate == study.date.replace("-", "") and int(ds.PatientAge[:-1]) == study.age
        assert ds.PatientSex == study.sex[0].upper() and ds.ReasonForStudy == study.indication
        kinds.add((ds.Modality, ds.PhotometricInterpretation, ds.BitsStored))
    assert kinds == {("DX", "MONOCHROME2", 12), ("CR", "MONOCHROME1", 12), ("DX", "MONOCHROME1", 16)}
    assert len({pydicom.dcmread(tmp_path / s.images[0].name).StudyInstanceUID for s in studies}) == 40
