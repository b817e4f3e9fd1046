"""wetread.studies.dicom: every grey file gives the same picture, every other file one clear line."""

import csv
import io
import os
import warnings

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from studies_files import CANARY, SHARED, damaged, dicom, grey8, grey16, needs, save, scene, sequence_item
from wetread.errors import Refused, StudyError, WetreadError
from wetread.studies.anonymise import pseudonym
from wetread.studies.dicom import looks_like_dicom, read_dicom

PHI = (CANARY, "CANARY", "Canary")


def reading(tmp_path, ds, **options):
    return read_dicom(save(ds, tmp_path / "film.dcm"), **options)


def line_of(error, tmp_path):
    text = str(error.value)
    assert "\n" not in text and str(tmp_path) not in text and not any(word in text for word in PHI)
    return text


# ---- pixels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "bits", "tags"),
    [
        (grey8(), 8, {}),
        (grey16(1023), 10, {"WindowCenter": 512, "WindowWidth": 1024}),
        (grey16(4095), 12, {"WindowCenter": 2048, "WindowWidth": 4096}),
        (grey16(65535), 16, {"WindowCenter": 32768, "WindowWidth": 65536}),
        ((grey16(4095).astype(np.int32) - 2048).astype(np.int16), 16, {"WindowCenter": 0, "WindowWidth": 4096}),
        (grey16(4095), 12, {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 3095, "WindowWidth": 8191}),
        (grey16(4095), 12, {"WindowCenter": 2047.5, "WindowWidth": 4095, "VOILUTFunction": "LINEAR_EXACT"}),
        (255 - grey8(), 8, {"PhotometricInterpretation": "MONOCHROME1"}),
        (4095 - grey16(4095), 12, {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE",
                                   "WindowCenter": 2048, "WindowWidth": 4096}),
        (255 - grey8(), 8, {"PresentationLUTShape": "INVERSE"}),
    ],
)  # fmt: skip
def test_every_encoding_gives_the_same_picture(tmp_path, pixels, bits, tags):
    read = reading(tmp_path, dicom(pixels, bits=bits, **tags))
    assert read.pixels.dtype == np.float32 and read.pixels.shape == (96, 64)
    np.testing.assert_allclose(read.pixels, scene(), atol=0.004)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_is_the_same_as_uncompressed(tmp_path, syntax):
    ds = dicom(grey16(4095), bits=12, WindowCenter=2048, WindowWidth=4096)
    plain = reading(tmp_path, ds).pixels
    ds.compress(syntax)
    np.testing.assert_array_equal(reading(tmp_path, ds).pixels, plain)


def test_sigmoid_window_runs_from_dark_to_bright_through_one_half(tmp_path):
    ds = dicom(grey16(4095), bits=12, WindowCenter=2048, WindowWidth=1000, VOILUTFunction="SIGMOID")
    pixels = reading(tmp_path, ds).pixels
    assert pixels.min() < 0.01 and pixels.max() > 0.99
    x = grey16(4095).astype(float)
    np.testing.assert_allclose(pixels, 1 / (1 + np.exp(-4 * (x - 2048) / 1000)), atol=1e-5)


def test_first_of_several_windows_is_used_and_noted(tmp_path):
    ds = dicom(grey16(4095), bits=12, WindowCenter=[2048, 100], WindowWidth=[4096, 10])
    read = reading(tmp_path, ds)
    np.testing.assert_allclose(read.pixels, scene(), atol=0.001)
    assert "Window 1 of 2 used." in read.header.notes


def test_window_outside_the_values_is_passed_over(tmp_path):
    ds = dicom(grey16(4095), bits=12, WindowCenter=[60000, 2048], WindowWidth=[10, 4096])
    read = reading(tmp_path, ds)
    np.testing.assert_allclose(read.pixels, scene(), atol=0.001)
    assert any("passed over" in note for note in read.header.notes)


def test_without_window_deep_pixels_are_scaled_by_percentile(tmp_path):
    read = reading(tmp_path, dicom(grey16(900), bits=16))
    assert read.pixels.min() == 0 and read.pixels.max() == 1
    assert np.corrcoef(read.pixels.ravel(), scene().ravel())[0, 1] > 0.999
    assert any("percentile" in note for note in read.header.notes)


@pytest.mark.parametrize("descriptor_bits", [12, 16])
def test_voi_lut_is_applied(tmp_path, descriptor_bits):
    table = np.linspace(0, 4095, 1024).astype("<u2")[::-1].copy()
    item = sequence_item(LUTDescriptor=[1024, 0, descriptor_bits], LUTData=table.tobytes())
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    read = reading(tmp_path, dicom(1023 - grey16(1023), bits=10, VOILUTSequence=[item]))
    np.testing.assert_allclose(read.pixels, scene(), atol=0.003)
    assert "VOI LUT applied." in read.header.notes


def test_modality_lut_is_applied_before_the_window(tmp_path):
    table = np.arange(256, dtype="<u2") * 16
    item = sequence_item(LUTDescriptor=[256, 0, 16], ModalityLUTType="US", LUTData=table.tobytes())
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    ds = dicom(grey8(), ModalityLUTSequence=[item], WindowCenter=2040.5, WindowWidth=4081)
    np.testing.assert_allclose(reading(tmp_path, ds).pixels, scene(), atol=0.004)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_becomes_black_at_the_border_only(tmp_path, photometric):
    picture = grey16(3000) + 500
    picture[:, :8] = 7
    picture[50, 40] = 7
    ds = dicom(picture, bits=12, PixelPaddingValue=7, PhotometricInterpretation=photometric)
    ds["PixelPaddingValue"].VR = "US"
    read = reading(tmp_path, ds)
    assert (read.pixels[:, :8] == 0).all()
    assert read.pixels[:, 8:].max() == 1
    # The lone value inside is part of the picture: it is shown by its grey value.
    assert read.pixels[50, 40] == (1 if photometric == "MONOCHROME1" else 0)
    assert any("Pixel Padding" in note for note in read.header.notes)


def test_absent_optional_pixel_tags_are_noted(tmp_path):
    read = reading(tmp_path, dicom(grey8(), SamplesPerPixel=None, PhotometricInterpretation=None))
    np.testing.assert_allclose(read.pixels, scene(), atol=0.003)
    assert sum("is absent; taken as" in note for note in read.header.notes) == 2


# ---- header ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("position", "view"),
    [("PA", "PA"), ("AP", "AP"), ("AP SUPINE", "AP"), ("LL", "lateral"), ("RL", "lateral"), ("LATERAL", "lateral"),
     ("", "unknown"), ("LLD", "unknown"), ("RAO", "unknown"), ("AP DECUBITUS", "unknown")],
)  # fmt: skip
def test_view_position(tmp_path, position, view):
    assert reading(tmp_path, dicom(grey8(), ViewPosition=position)).header.view == view


@pytest.mark.parametrize(
    ("meaning", "view"),
    [("postero-anterior", "PA"), ("posterior-anterior", "PA"), ("antero-posterior", "AP"), ("left lateral", "lateral"),
     ("oblique", "unknown")],
)  # fmt: skip
def test_view_code(tmp_path, meaning, view):
    ds = dicom(grey8(), ViewCodeSequence=[sequence_item(CodeMeaning=meaning)])
    assert reading(tmp_path, ds).header.view == view


@pytest.mark.parametrize(
    ("age", "years"), [("054Y", 54), ("018M", 1), ("011M", 0), ("006W", 0), ("81", 81), ("abc", None), ("999Y", None)]
)
def test_age(tmp_path, age, years):
    assert reading(tmp_path, dicom(grey8(), PatientAge=age)).header.age == years


def test_age_from_birth_date(tmp_path):
    header = reading(tmp_path, dicom(grey8(), PatientBirthDate="19500602", StudyDate="20200601")).header
    assert (header.age, header.date) == (69, "2020-06-01")


@pytest.mark.parametrize(("raw", "sex"), [("M", "male"), ("F", "female"), ("O", "unknown"), ("", "unknown")])
def test_sex(tmp_path, raw, sex):
    assert reading(tmp_path, dicom(grey8(), PatientSex=raw)).header.sex == sex


def test_indication_comes_from_the_reason_not_from_descriptions(tmp_path):
    tags = {"StudyDescription": "No Finding", "RequestedProcedureDescription": "CHEST 2 VIEWS"}
    assert reading(tmp_path, dicom(grey8(), **tags)).header.indication == ""
    tags["AdmittingDiagnosesDescription"] = "dyspnoea"
    assert reading(tmp_path, dicom(grey8(), **tags)).header.indication == "dyspnoea"
    tags["RequestAttributesSequence"] = [sequence_item(ReasonForTheRequestedProcedure="cough, fever")]
    assert reading(tmp_path, dicom(grey8(), **tags)).header.indication == "cough, fever"


def test_no_identifier_is_taken_over(tmp_path):
    ds = dicom(grey8(), InstitutionName="Canary Hospital", OperatorsName=CANARY, PatientAge="CANARY")
    header = reading(tmp_path, ds).header
    assert not any(word in repr(header) for word in PHI)
    assert ds.StudyInstanceUID not in repr(header)


def test_keys_are_stable_and_depend_on_the_secret(tmp_path):
    ds = dicom(grey8())
    one, two = reading(tmp_path, ds).header, reading(tmp_path, ds).header
    other = reading(tmp_path, ds, key=b"secret").header
    assert one.patient == two.patient == pseudonym("patient", "CANARY-ID-77")
    assert one.study == two.study
    assert other.patient != one.patient and other.study != one.study
    assert reading(tmp_path, dicom(grey8(), PatientID="")).header.patient == ""


def test_absent_body_part_is_taken_as_chest_and_noted(tmp_path):
    notes = reading(tmp_path, dicom(grey8(), BodyPartExamined="")).header.notes
    assert "Body Part Examined (0018,0015) is absent; taken as chest." in notes


# ---- refused ---------------------------------------------------------------------------------------------------------

COLOUR = np.stack([grey8(), grey8(200), grey8(90)], axis=-1)
REFUSED = [
    ({"Modality": "CT"}, "Modality (0008,0060) is 'CT'"),
    ({"Modality": "MG"}, "Modality (0008,0060) is 'MG'"),
    ({"Modality": "US"}, "'US'"),
    ({"BodyPartExamined": "HIP"}, "Body Part Examined (0018,0015) is 'HIP'"),
    ({"BodyPartExamined": "Canary^Patient lives here"}, "Body Part Examined (0018,0015) is another value"),
    ({"BodyPartExamined": "", "StudyDescription": "HIP JOINT of Canary"}, "Study Description (0008,1030) says 'hip'"),
    ({"BodyPartExamined": "UNKNOWN", "SeriesDescription": "L_KNEE_LAT"}, "Series Description (0008,103E) says 'knee'"),
    ({"BodyPartExamined": "", "AnatomicRegionSequence": [sequence_item(CodeMeaning="Breast")]}, "is 'Breast'"),
    ({"NumberOfFrames": 4, "PixelData": grey8().tobytes() * 4}, "Number of Frames (0028,0008) is 4"),
    ({"pixels": COLOUR, "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
     "Photometric Interpretation (0028,0004) is 'RGB'"),
    ({"pixels": np.full((40, 40), 9, np.uint8)}, "every pixel has the same value"),
]  # fmt: skip


@pytest.mark.parametrize(("tags", "said"), REFUSED)
def test_refused_by_tag_and_drafted_by_force(tmp_path, tags, said):
    tags = dict(tags)
    ds = dicom(tags.pop("pixels", grey8()), **tags)
    with pytest.raises(Refused) as error:
        reading(tmp_path, ds)
    line = line_of(error, tmp_path)
    assert said in line and "--force" in line
    forced = reading(tmp_path, ds, force=True)
    assert forced.pixels.ndim == 2
    assert any(note.startswith("Drafted by force: ") for note in forced.header.notes)


@pytest.mark.parametrize(
    "tags",
    [{"Modality": "CR"}, {"Modality": "DR"}, {"Modality": ""}, {"BodyPartExamined": "THORAX"},
     {"BodyPartExamined": "PORT CHEST"}, {"BodyPartExamined": "", "StudyDescription": "CHEST AND SHOULDER"},
     {"StudyDescription": "HIP JOINT"}],
)  # fmt: skip
def test_accepted(tmp_path, tags):
    assert reading(tmp_path, dicom(grey8(), **tags)).pixels.shape == (96, 64)


@pytest.mark.parametrize(
    ("uid", "said"),
    [("1.2.840.10008.5.1.4.1.1.88.11", "a structured report"), ("1.2.840.10008.5.1.4.1.1.104.1", "encapsulated"),
     ("1.2.840.10008.5.1.4.1.1.11.1", "presentation state")],
)  # fmt: skip
@pytest.mark.parametrize("force", [False, True])
def test_objects_without_a_picture_are_refused_even_by_force(tmp_path, uid, said, force):
    with pytest.raises(Refused) as error:
        reading(tmp_path, dicom(grey8(), SOPClassUID=uid, PixelData=None), force=force)
    assert said in line_of(error, tmp_path)


def test_huge_claim_is_refused_before_allocation(tmp_path):
    with pytest.raises(Refused) as error:
        reading(tmp_path, dicom(grey8(), Rows=30000, Columns=30000), force=True)
    assert "30000 × 30000" in line_of(error, tmp_path)


def test_large_claim_over_few_bytes_fails(tmp_path):
    ds = dicom(grey8())
    ds.compress(RLELossless)
    ds.Rows = ds.Columns = 15000
    with pytest.raises(StudyError) as error:
        reading(tmp_path, ds)
    assert "15000 × 15000" in line_of(error, tmp_path)


# ---- failed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"Rows": 0}, "Rows (0028,0010) is 0"),
        ({"Columns": None}, "Columns (0028,0011) is absent"),
        ({"BitsAllocated": None, "BitsStored": None}, "Bits Allocated (0028,0100) is absent"),
        ({"PixelData": None}, "Pixel Data (7FE0,0010) is absent"),
        ({"PixelData": b""}, "Pixel Data (7FE0,0010) is absent or empty"),
        ({"PixelData": grey8().tobytes()[:100]}, "damaged or truncated"),
        ({"Rows": 97}, "damaged or truncated"),
    ],
)
def test_unusable_pixels_fail_in_one_line(tmp_path, tags, said):
    with pytest.raises(StudyError) as error:
        reading(tmp_path, dicom(grey8(), **tags))
    assert not isinstance(error.value, Refused)
    assert said in line_of(error, tmp_path)


def test_twelve_bit_lossy_jpeg_says_what_to_do(tmp_path):
    # No encoder writes 12-bit JPEG here: the frame header alone decides before decoding.
    frame = bytes.fromhex("ffd8ffc1000b0c00600040010111 00ffd9".replace(" ", ""))
    ds = dicom(grey16(4095), bits=12)
    ds.PixelData = pydicom.encaps.encapsulate([frame + b"\0" * (len(frame) % 2)])
    ds.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    ds["PixelData"].VR = "OB"
    with pytest.raises(StudyError) as error:
        reading(tmp_path, ds)
    line = line_of(error, tmp_path)
    assert "1.2.840.10008.1.2.4.51" in line and "12-bit lossy JPEG" in line and "JPEG Lossless" in line


def test_unknown_transfer_syntax_is_named(tmp_path):
    ds = dicom(grey8())
    ds.PixelData = pydicom.encaps.encapsulate([b"\0\1\2\3"])
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    with pytest.raises(StudyError, match=r"1\.2\.840\.10008\.1\.2\.4\.100"):
        reading(tmp_path, ds)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(128) + b"DICM", bytes(400), b"a,b\n1,2\n" * 40])
def test_what_is_not_dicom_fails_in_one_line(tmp_path, content):
    path = tmp_path / "film.dcm"
    path.write_bytes(content)
    with pytest.raises(StudyError) as error:
        read_dicom(path)
    line_of(error, tmp_path)


def test_recognised_without_preamble_and_suffix(tmp_path):
    for syntax in (ImplicitVRLittleEndian, pydicom.uid.ExplicitVRLittleEndian, ExplicitVRBigEndian):
        buffer = io.BytesIO()
        ds = dicom(grey8(), syntax=syntax, PatientID="x")
        implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
        del ds.file_meta
        pydicom.dcmwrite(buffer, ds, implicit_vr=implicit, little_endian=little)
        path = tmp_path / "IM0001"
        path.write_bytes(buffer.getvalue())
        assert looks_like_dicom(buffer.getvalue()[:132])
        if syntax != ExplicitVRBigEndian:  # nothing in such a file states its byte order
            np.testing.assert_allclose(read_dicom(path).pixels, scene(), atol=0.003)


def test_warnings_and_log_lines_stay_inside(tmp_path, recwarn, capfd):
    reading(tmp_path, dicom(grey8(), PatientAge="CANARY", StudyDate="CANARY", WindowCenter="12"))
    assert not list(recwarn)
    out, err = capfd.readouterr()
    assert out == err == ""


def _sources():
    tags = {word: generate_uid(entropy_srcs=[word]) for word in ("StudyInstanceUID", "SeriesInstanceUID")}
    tags["SOPInstanceUID"] = generate_uid(entropy_srcs=["instance"])
    tags["ViewCodeSequence"] = [sequence_item(CodeMeaning="lateral")]
    ds = dicom(grey16(4095), bits=12, WindowCenter=2048, WindowWidth=4096, **tags)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    result = []
    for syntax in (None, RLELossless, JPEG2000Lossless, JPEGLSLossless):
        copy = pydicom.dcmread(io.BytesIO(_bytes(ds)))
        if syntax:
            copy.compress(syntax, generate_instance_uid=False)
        result.append(_bytes(copy))
    return result


def _bytes(ds):
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


SOURCES = _sources()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=damaged(SOURCES))
def test_damaged_files_never_raise_anything_else(tmp_path, data):
    path = tmp_path / "damaged"
    path.write_bytes(data)
    for force in (False, True):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                pixels = read_dicom(path, force=force).pixels
            except WetreadError as error:
                assert "\n" not in str(error) and not any(word in str(error) for word in PHI)
            else:
                assert pixels.ndim == 2 and pixels.dtype == np.float32
                assert np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1
        assert not caught


def test_decoders_do_not_write_to_the_terminal(tmp_path, capfd):
    data = bytearray(SOURCES[2])
    size = data.index(b"\xff\x51")  # the SIZ marker of JPEG 2000; the library prints when its width is negative
    data[size + 6 : size + 10] = b"\xff\xff\xff\xff"
    (tmp_path / "damaged").write_bytes(bytes(data))
    with pytest.raises(StudyError, match="cannot be decoded"):
        read_dicom(tmp_path / "damaged")
    assert capfd.readouterr().err == ""
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"


# ---- real files ------------------------------------------------------------------------------------------------------


@needs("dicom")
def test_real_files_match_what_is_known_of_them():
    with (SHARED / "dicom" / "expected.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    grey = {}
    for row in rows:
        path = SHARED / "dicom" / row["file"]
        if row["body_part"] == "HIP":
            with pytest.raises(Refused, match=r"Body Part Examined \(0018,0015\) is 'HIP'"):
                read_dicom(path)
        if row["decodes"] == "no":
            with pytest.raises(StudyError, match="12-bit lossy JPEG"):
                read_dicom(path, force=True)
            continue
        read = read_dicom(path, force=row["body_part"] == "HIP")
        assert read.pixels.shape == (int(row["rows"]), int(row["cols"]))
        meta = read.header.meta
        assert meta["photometric"] == row["photometric"] and meta["transfer_syntax"] == row["transfer_syntax"]
        assert meta["dicom_modality"] == row["modality"]
        grey[path.name] = read.pixels
    for name in ("RG2_JLSL", "RG2_JPLL", "RG2_RLE"):
        np.testing.assert_array_equal(grey[name], grey["RG2_J2KR"])
    for name, like in (("RG2_J2KI", "RG2_J2KR"), ("RG2_JLSN", "RG2_J2KR"), ("RG1_J2KI", "RG1_JLSN")):
        assert np.abs(grey[name] - grey[like]).mean() < 0.01


@needs("dicom")
def test_real_monochrome1_chest_has_dark_lungs():
    read = read_dicom(SHARED / "dicom" / "wg04" / "RG1_J2KI")
    rows, columns = read.pixels.shape
    lung = read.pixels[rows // 4 : rows // 2, columns * 60 // 100 : columns * 75 // 100]
    spine = read.pixels[rows // 4 : rows // 2, columns * 47 // 100 : columns * 53 // 100]
    assert np.median(spine) > np.median(lung) + 0.1
    assert (read.header.view, read.header.sex) == ("PA", "female")


@needs("dicom")
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9])
def test_truncated_real_files_end_in_one_line_or_a_picture(tmp_path, share):
    for source in sorted((SHARED / "dicom" / "wg04").iterdir()):
        data = source.read_bytes()
        path = tmp_path / source.name
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(StudyError):
            read_dicom(path, force=True)
