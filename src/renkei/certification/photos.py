"""Photographs for cards: of the right size, sharp, of one face that looks ahead, before a plain background. All faults are said at once.

OpenCV finds the face (Viola and Jones 2001, its frontal cascade); Pillow reads the file. Nothing of a photograph is kept but its pixels.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any, NamedTuple

from renkei.errors import Malformed, SetupError

BYTES_MOST = 8_000_000
PIXELS_MOST = 40_000_000
LEAST = (350, 450)
SIZE = (420, 540)
"""Pixels of what is kept: 35 × 45 mm at 305 dots an inch."""
RATIO, RATIO_OFF = 35 / 45, 0.06
FACE = (0.28, 0.75)
"""Least and most share of the height that the face has, brow to chin and ear to ear, as the cascade frames it."""
OFF_CENTRE = 0.14
SHARP = 25.0
"""Least variance of the Laplacian at the size that is kept."""
PLAIN = 26.0
"""Most standard deviation of the brightness along the upper edges."""


class Fault(NamedTuple):
    """One thing wrong with a photograph."""

    code: str
    en: str
    ja: str


FAULTS = {
    f.code: f
    for f in (
        Fault("file", "It is no JPEG or PNG picture that can be read.", "JPEG または PNG として読み取れません。"),
        Fault("small", "It is too small: 350 × 450 pixels at least.", "小さすぎます（350×450ピクセル以上）。"),
        Fault("shape", "It is not as wide as 35 to a height of 45.", "縦横の比が45対35ではありません。"),
        Fault("dark", "It is too dark or too bright.", "暗すぎるか、明るすぎます。"),
        Fault("blurred", "It is not sharp.", "ピントが合っていません。"),
        Fault("no-face", "No face that looks ahead is found.", "正面を向いた顔が見つかりません。"),
        Fault("faces", "There is more than one face.", "複数の顔が写っています。"),
        Fault("distance", "The face is too near or too far.", "顔が大きすぎるか、小さすぎます。"),
        Fault("place", "The face is not in the middle.", "顔が中央にありません。"),
        Fault("background", "The background is not plain.", "背景が無地ではありません。"),
    )
}


class Unfit(Malformed):
    """A photograph that cannot be used; ``faults`` says why."""

    code = "photo"

    def __init__(self, codes: list[str]) -> None:
        faults = [FAULTS[c] for c in codes]
        super().__init__(
            " ".join(f.en for f in faults),
            ja="".join(f.ja for f in faults),
            remedy="Take another: from the front, before a plain wall, without a hat, in even light.",
            remedy_ja="正面・無帽・無背景で、明るさのむらがないように撮り直してください。",
        )
        self.faults = faults


def check(data: bytes) -> bytes:
    """The photograph as it is kept: a JPEG of ``SIZE``, without what a camera wrote beside it. ``Unfit`` if it cannot be used."""
    cv2, np = _vision()
    picture = _read(data)
    width, height = picture.size
    faults = []
    if width < LEAST[0] or height < LEAST[1]:
        faults.append("small")
    if abs(width / height - RATIO) > RATIO_OFF:
        faults.append("shape")
    if faults:
        raise Unfit(faults)
    kept = picture.resize(SIZE)
    grey = np.asarray(kept.convert("L"))
    if not 60 <= float(grey.mean()) <= 225:
        faults.append("dark")
    if float(cv2.Laplacian(grey, cv2.CV_64F).var()) < SHARP:
        faults.append("blurred")
    faults += _face(grey)
    if not _plain(grey):
        faults.append("background")
    if faults:
        raise Unfit(faults)
    kept.info.clear()  # a comment would be written again
    out = io.BytesIO()
    kept.save(out, "JPEG", quality=88)
    return out.getvalue()


def _read(data: bytes) -> Any:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        if len(data) > BYTES_MOST:
            raise ValueError
        picture = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        if picture.size[0] * picture.size[1] > PIXELS_MOST:
            raise ValueError
        return ImageOps.exif_transpose(picture).convert("RGB")
    except (ValueError, OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        raise Unfit(["file"]) from None


def _face(grey: Any) -> list[str]:
    height, width = grey.shape
    found = _cascade().detectMultiScale(grey, 1.08, 8, minSize=(60, 60))
    if not len(found):
        return ["no-face"]
    if len(found) > 1:
        return ["faces"]
    x, y, w, h = (int(n) for n in found[0])
    faults = [] if FACE[0] <= h / height <= FACE[1] else ["distance"]
    off = max(abs((x + w / 2) / width - 0.5), abs((y + h / 2) / height - 0.5))
    return faults if off <= OFF_CENTRE else [*faults, "place"]


def _plain(grey: Any) -> bool:
    """The upper edges are of about one brightness: where hair may reach is left out."""
    height, width = grey.shape
    top = grey[: int(height * 0.04), :]
    left, right = (grey[: int(height * 0.3), s] for s in (slice(0, int(width * 0.06)), slice(int(width * 0.94), width)))
    parts = [part.astype(float) for part in (top, left, right)]
    means = [float(part.mean()) for part in parts]
    return max(float(part.std()) for part in parts) <= PLAIN and max(means) - min(means) <= 2 * PLAIN


@cache
def _cascade() -> Any:
    cv2, _ = _vision()
    return cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_default.xml")


def _vision() -> tuple[Any, Any]:
    try:
        import cv2
        import numpy
    except ImportError:
        raise SetupError(
            "OpenCV is missing, without which no photograph is checked.",
            ja="OpenCV がないため、写真を確認できません。",
            remedy="Install it with `make card`.",
            remedy_ja="`make card` で入れてください。",
            code="vision",
        ) from None
    return cv2, numpy
