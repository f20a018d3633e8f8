"""Is this file a picture? "A 200 is not an image": nothing is believed before every pixel has been accounted for."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..files import SpoolUnavailable
from .png import pixels_are_sound
from .signature import Format, NotAnImage, read_header


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a file was found to be."""

    content_type: str
    ext: str
    width: int
    height: int


def inspect(source: Path | bytes, *, max_pixels: int = 64_000_000) -> ImageFacts:
    """Decode a PNG, JPEG or WebP file completely and report what it is.

    The signature decides on the format; only that one decoder is then tried. Dimensions are read from the header
    before any decoder sees the file: Pillow's own check comes too late for WebP, whose canvas is allocated on open.
    No global setting or warning filter of the process is touched (filters are shared by all threads), so images
    beyond Pillow's own limit are refused rather than warned of. Metadata that is odd without harm to the pixels is
    no reason to refuse a picture that has been paid for.

    Args:
        source: The file, whose extension is ignored, or its bytes.
        max_pixels: The most pixels accepted, all frames of an animation together. Values above Pillow's
            `MAX_IMAGE_PIXELS` act as that.

    Raises:
        NotAnImage: It is something else, cut, damaged or too large; the reason says which.
        SpoolUnavailable: The file cannot be read.
    """
    data = source if isinstance(source, bytes) else _read(source)
    limit = min(max_pixels, Image.MAX_IMAGE_PIXELS or max_pixels)
    header = read_header(data)
    _check_pixels(header.format, header.width, header.height, 1, limit)
    try:
        width, height = _decode(data, header.format, limit)
    except (NotAnImage, MemoryError):
        raise
    except Exception as error:
        # A hostile file can make a decoder raise anything.
        raise NotAnImage(_reason(header.format, error)) from error
    return ImageFacts(header.format.content_type, header.format.ext, width, height)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpoolUnavailable(f"cannot read {path}: {error.strerror or error}") from error


def _decode(data: bytes, kind: Format, limit: int) -> tuple[int, int]:
    """Decode every frame, one in memory at a time, and return the first one's size.

    Of a plain PNG the pixels need not be drawn; where that shows any doubt, the decoder is the judge.
    """
    with Image.open(io.BytesIO(data), formats=(kind.pillow,)) as image:
        size = image.size
        image.verify()  # checksums of all PNG chunks; the image cannot be used afterwards
    if kind.name == "PNG" and pixels_are_sound(data):
        return size
    with Image.open(io.BytesIO(data), formats=(kind.pillow,)) as image:
        # A second picture inside a JPEG (MPO) is an attachment, not a frame.
        frames = 1 if kind.name == "JPEG" else getattr(image, "n_frames", 1)
        _check_pixels(kind, *size, frames, limit)
        for frame in range(frames):
            image.seek(frame)
            image.load()
    return size


def _check_pixels(kind: Format, width: int, height: int, frames: int, limit: int) -> None:
    if width * height * frames > limit:
        shape = f"{width:,} x {height:,} pixels" + (f" in {frames:,} frames" if frames > 1 else "")
        raise NotAnImage(f"{kind.name} of {shape}, more than the {limit:,} pixels allowed")


def _reason(kind: Format, error: Exception) -> str:
    text = " ".join(str(error).split())[:120]
    if "truncated" in text.lower():
        return f"truncated {kind.name}"
    return f"damaged {kind.name} ({text or type(error).__name__})"
