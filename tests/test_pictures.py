"""wetread.studies.pictures and resize: grey pictures in, one clear line for everything else."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image as PilImage
from PIL import ImageDraw

from studies_files import SHARED, damaged, grey8, grey16, needs, scene
from wetread.errors import Refused, StudyError, WetreadError
from wetread.studies.pictures import read_picture
from wetread.studies.resize import to_square


def write(tmp_path, picture, name="film.png", **options):
    path = tmp_path / name
    picture.save(path, **options)
    return path


def large_scene():
    return PilImage.fromarray(grey8()).resize((512, 768), PilImage.Resampling.BILINEAR)


def photograph():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return PilImage.fromarray(small).resize((320, 240), PilImage.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("name", "options"),
    [("film.png", {}), ("film.bmp", {}), ("film.tif", {}), ("film.webp", {"lossless": True}), ("film.gif", {}),
     ("film.jpg", {"quality": 98}), ("film", {"format": "PNG"}), ("film.tiff", {"compression": "tiff_lzw"})],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA", "RGBA"])
def test_every_mode_and_format_gives_the_same_picture(tmp_path, name, options, mode):
    try:
        path = write(tmp_path, PilImage.fromarray(grey8()).convert(mode), name, **options)
    except OSError:
        pytest.skip(f"{name} cannot hold mode {mode}")
    read = read_picture(path)
    assert read.pixels.dtype == np.float32 and read.pixels.shape == (96, 64)
    # A GIF of a picture with transparency has a palette of its own making.
    np.testing.assert_allclose(read.pixels, scene(), atol=0.05 if name == "film.gif" else 0.02)


@pytest.mark.parametrize("top", [4095, 65535])
@pytest.mark.parametrize("name", ["film.png", "film.tif"])
def test_sixteen_bits_are_scaled_by_percentile(tmp_path, top, name):
    read = read_picture(write(tmp_path, PilImage.fromarray(grey16(top)), name))
    assert read.pixels.min() == 0 and read.pixels.max() == 1
    assert np.corrcoef(read.pixels.ravel(), scene().ravel())[0, 1] > 0.999
    assert any("percentile" in note for note in read.notes)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bits(tmp_path, dtype):
    read = read_picture(write(tmp_path, PilImage.fromarray((scene() * 5000).astype(dtype)), "film.tif"))
    assert np.corrcoef(read.pixels.ravel(), scene().ravel())[0, 1] > 0.999


def test_tiff_with_white_as_least_value_is_inverted(tmp_path):
    path = write(tmp_path, PilImage.fromarray(65535 - grey16(65535)), "film.tif", tiffinfo={262: 0})
    with PilImage.open(path) as picture:
        assert picture.tag_v2[262] == 0
    assert np.corrcoef(read_picture(path).pixels.ravel(), scene().ravel())[0, 1] > 0.999


def test_transparent_parts_become_black(tmp_path):
    layered = PilImage.fromarray(np.full((64, 64), 200, np.uint8)).convert("RGBA")
    layered.paste((200, 200, 200, 0), (0, 0, 32, 64))
    read = read_picture(write(tmp_path, layered))
    assert (read.pixels[:, :32] == 0).all() and (read.pixels[:, 32:] > 0.7).all()
    assert "Transparent parts were set to black." in read.notes


def test_exif_orientation_is_followed(tmp_path):
    exif = PilImage.Exif()
    exif[274] = 6
    upright = PilImage.fromarray(grey8())
    path = write(tmp_path, upright.rotate(90, expand=True), "film.png", exif=exif)
    read = read_picture(path)
    np.testing.assert_allclose(read.pixels, scene(), atol=0.01)
    assert "Turned as the EXIF orientation says." in read.notes


def test_small_coloured_marks_are_accepted_and_noted(tmp_path):
    film = large_scene().convert("RGB")
    ImageDraw.Draw(film).rectangle((20, 20, 90, 110), fill=(250, 220, 0))
    read = read_picture(write(tmp_path, film, "film.jpg", quality=85))
    assert any("are coloured" in note for note in read.notes)


def test_tinted_film_is_accepted_and_noted(tmp_path):
    rgb = np.stack([grey8(230), grey8(236), grey8(245)], axis=-1)
    assert any("colour cast" in note for note in read_picture(write(tmp_path, PilImage.fromarray(rgb))).notes)


def test_colour_photograph_is_refused_with_its_colourfulness(tmp_path):
    path = write(tmp_path, photograph(), "holiday.jpg")
    with pytest.raises(Refused, match=r"holiday.jpg: \d+% of the pixels are coloured .*--force"):
        read_picture(path)
    forced = read_picture(path, force=True)
    assert forced.pixels.shape == (240, 320)
    assert forced.notes[0].startswith("Drafted by force: ")


@pytest.mark.parametrize(("name", "options"), [("film.tif", {}), ("film.gif", {}), ("film.webp", {"lossless": True})])
def test_several_frames_are_refused(tmp_path, name, options):
    first, second = PilImage.fromarray(grey8()), PilImage.fromarray(255 - grey8())
    path = write(tmp_path, first, name, save_all=True, append_images=[second], **options)
    with pytest.raises(Refused, match="holds 2 frames"):
        read_picture(path)
    np.testing.assert_allclose(read_picture(path, force=True).pixels, scene(), atol=0.02)


@pytest.mark.parametrize(
    ("picture", "said"),
    [(PilImage.new("L", (8, 8)), "8 × 8 pixels"), (PilImage.new("L", (64, 64), 99), "every pixel has the same value")],
)
def test_tiny_and_blank_pictures_are_refused(tmp_path, picture, said):
    path = write(tmp_path, picture)
    with pytest.raises(Refused, match=said):
        read_picture(path)
    assert read_picture(path, force=True).pixels.size


def test_bomb_is_refused_before_allocation(tmp_path):
    data = bytearray(write(tmp_path, PilImage.fromarray(grey8())).read_bytes())
    data[16:24] = (30000).to_bytes(4, "big") * 2
    path = tmp_path / "bomb.png"
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    path.write_bytes(bytes(data))
    with pytest.raises(Refused, match="claims more than"):
        read_picture(path, force=True)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"BM" + bytes(60)])
def test_what_is_no_picture_fails_in_one_line(tmp_path, content):
    path = tmp_path / "film.png"
    path.write_bytes(content)
    with pytest.raises(StudyError) as error:
        read_picture(path)
    assert str(error.value).startswith("film.png: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "options"), [("a.png", {}), ("a.jpg", {}), ("a.webp", {}), ("a.bmp", {})])
def test_truncated_pictures_fail(tmp_path, name, options):
    path = write(tmp_path, large_scene(), name, **options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(StudyError, match="damaged or truncated") as error:
        read_picture(path)
    assert not isinstance(error.value, Refused)


def _sources():
    result = []
    for form, picture in (("PNG", grey16(4095)), ("JPEG", grey8()), ("TIFF", grey16(999)), ("WEBP", grey8())):
        buffer = io.BytesIO()
        PilImage.fromarray(picture).save(buffer, form)
        result.append(buffer.getvalue())
    return result


SOURCES = _sources()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=damaged(SOURCES))
def test_damaged_pictures_never_raise_anything_else(tmp_path, data):
    path = tmp_path / "damaged"
    path.write_bytes(data)
    try:
        pixels = read_picture(path, force=True).pixels
    except WetreadError as error:
        assert "\n" not in str(error)
    else:
        assert pixels.ndim == 2 and np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1


@pytest.mark.parametrize("shape", [(96, 64), (64, 96), (200, 200), (10, 300), (3, 2)])
@pytest.mark.parametrize("size", [1, 32, 128])
def test_to_square_keeps_mean_and_aspect(shape, size):
    square = to_square(np.ones(shape, dtype=np.float32), size)
    assert square.shape == (size, size) and square.dtype == np.uint8
    lit = square > 127
    rows, columns = lit.any(axis=1).sum(), lit.any(axis=0).sum()
    assert max(rows, columns) == size
    assert min(rows, columns) == max(1, round(size * min(shape) / max(shape)))


def test_to_square_averages_over_the_area():
    stripes = np.zeros((256, 256), dtype=np.float32)
    stripes[:, ::2] = 1
    np.testing.assert_allclose(to_square(stripes, 64), 128, atol=1)


@pytest.mark.parametrize("bad", [np.zeros((0, 4), np.float32), np.zeros((4, 4, 3), np.float32)])
def test_to_square_refuses_other_shapes(bad):
    with pytest.raises(ValueError, match="shape"):
        to_square(bad, 8)


@needs("chest_xray")
def test_real_pictures_are_all_read():
    files = [path for path in (SHARED / "chest_xray").rglob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg"}]
    assert len(files) == 139
    for path in sorted(files)[::6]:  # every sixth keeps the test to a second; all 139 were read when it was written
        pixels = read_picture(path).pixels
        assert pixels.ndim == 2 and 0 <= pixels.min() < pixels.max() <= 1
