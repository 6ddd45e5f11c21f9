"""Photographs: a good one is kept without what the camera wrote; each fault is found and named; junk is refused."""

import io
from pathlib import Path

import pytest

cv2 = pytest.importorskip("cv2")
np = pytest.importorskip("numpy")
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from PIL import Image, ImageFilter  # noqa: E402

from renkei.certification import photos  # noqa: E402

GOOD, BUSY = ((Path(__file__).parents[2] / "photos" / f"{n}.jpg").read_bytes() for n in ("good", "busy"))


def picture():
    return Image.open(io.BytesIO(GOOD)).convert("RGB")


def data(image, kind="PNG", **more):
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def faults(content):
    with pytest.raises(photos.Unfit) as refusal:
        photos.check(content)
    return {f.code for f in refusal.value.faults}


@pytest.mark.parametrize("content", [GOOD, data(picture()), data(picture().resize((1400, 1800)))])
def test_a_good_one_is_kept_small_and_bare(content):
    kept = photos.check(content)
    image = Image.open(io.BytesIO(kept))
    assert (image.size, image.format) == (photos.SIZE, "JPEG")
    assert len(kept) < 120_000
    assert not image.getexif()


def test_what_the_camera_wrote_is_gone():
    """Where and with what it was taken; turned as the camera says."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "A camera", 6
    turned = picture().rotate(90, expand=True)
    kept = photos.check(data(turned, "JPEG", exif=exif, quality=95, comment=b"GPS 35.0 139.0, owner: me"))
    assert b"A camera" not in kept
    assert b"owner" not in kept


def shifted(by):
    image = picture()
    wide = Image.new("RGB", image.size, image.getpixel((8, 8)))
    wide.paste(image, (by, 0))
    return wide


def far():
    image = picture()
    wide = Image.new("RGB", (1470, 1890), image.getpixel((8, 8)))
    wide.paste(image, (490, 630))
    return wide


def two():
    image = picture()
    half = image.resize((int(image.width * 0.5), int(image.height * 0.5)))
    wide = Image.new("RGB", image.size, image.getpixel((8, 8)))
    wide.paste(half, (0, 150))
    wide.paste(half, (half.width, 150))
    return wide


@pytest.mark.parametrize(
    ("image", "fault"),
    [
        (picture().resize((300, 386)), "small"),
        (picture().resize((630, 630)), "shape"),
        (Image.eval(picture(), lambda v: v // 8), "dark"),
        (picture().filter(ImageFilter.GaussianBlur(9)), "blurred"),
        (Image.new("RGB", (490, 630), (200, 200, 200)), "no-face"),
        (picture().rotate(180), "no-face"),
        (shifted(90), "place"),
        (far(), "distance"),
        (two(), "faces"),
    ],
)
def test_each_fault_is_named(image, fault):
    assert fault in faults(data(image))


def test_a_background_that_is_not_plain():
    assert "background" in faults(BUSY)


@pytest.mark.parametrize("content", [b"", b"junk", GOOD[:500], b"GIF89a" + bytes(100), bytes(9_000_000)])
def test_what_is_no_picture_is_refused(content):
    assert faults(content) == {"file"}


@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=8))
def test_damaged_files_are_judged_or_refused(at, change):
    try:
        photos.check(GOOD[:at] + change + GOOD[at + len(change) :])
    except photos.Unfit as error:
        assert error.faults
