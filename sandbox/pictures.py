"""The sandbox's pictures as files: drawn from a specification, captioned, encoded, and padded to a size.

The same specification gives the same bytes (for one version of Pillow and its codecs).
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from random import Random

from PIL import Image, PngImagePlugin

from .art import paint
from .captions import caption
from .inputs import Received, show
from .options import ImageFormat

CONTENT_TYPES: dict[ImageFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}

_SOFTWARE = "prefect-imagen sandbox"
_EXIF_SOFTWARE, _EXIF_DESCRIPTION = 0x0131, 0x010E
_LARGEST_JPEG_COMMENT = 65_533


@dataclass(frozen=True, slots=True)
class PictureSpec:
    """Everything that decides a picture.

    Attributes:
        model: The model id that was asked for.
        prompt: The prompt as it was sent.
        seed: The seed that was sent, or the one the sandbox chose.
        index: Number of the image in its reply, from 0.
        width: Width in pixels.
        height: Height in pixels.
        inputs: Pictures that came with the request.
    """

    model: str
    prompt: str
    seed: int
    index: int
    width: int
    height: int
    inputs: tuple[Received, ...] = ()


def encode_picture(spec: PictureSpec, image_format: ImageFormat, at_least: int | None = None) -> bytes:
    """Draw and encode a picture.

    Its caption and its metadata (PNG text, else EXIF) say that the sandbox made it.

    Args:
        spec: What to draw.
        image_format: How to encode it.
        at_least: Size wanted in bytes. A smaller file is padded to exactly this size with bytes that decoders
            skip; a PNG that is larger is coded again with fewer colours. What still is larger stays so.

    Returns:
        A complete image file.
    """
    came = [f"{one.field}={one.sha256}" for one in spec.inputs]
    identity = "\x1f".join((spec.model, spec.prompt, str(spec.seed), str(spec.index), *came))
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).digest()
    # Not a secret: the same specification must give the same picture.
    picture, palette = paint(spec.width, spec.height, Random(digest))  # noqa: S311
    show(picture, spec.inputs)
    prompt = spec.prompt.encode("utf-8", "replace").decode("utf-8")
    origin = f"SANDBOX · {spec.model} · seed {spec.seed} · image {spec.index + 1}"
    caption(picture, palette, prompt, origin)
    note = f"Not a real generation: drawn by the {_SOFTWARE}. {origin}"
    if image_format == "png":
        return _png(picture, note, prompt, at_least, " ".join(came))
    exif = Image.Exif()
    exif[_EXIF_SOFTWARE] = _SOFTWARE
    exif[_EXIF_DESCRIPTION] = note.encode("ascii", "replace").decode("ascii")
    buffer = io.BytesIO()
    if image_format == "jpeg":
        picture.save(buffer, "JPEG", quality=88, exif=exif)
        return _pad_jpeg(buffer.getvalue(), at_least)
    picture.save(buffer, "WEBP", quality=82, method=0, exif=exif)
    return _pad_webp(buffer.getvalue(), at_least)


def decodes(content: bytes) -> bool:
    """Whether bytes are an image that can be decoded."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return True


def _png(picture: Image.Image, note: str, prompt: str, at_least: int | None, inputs: str) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", _SOFTWARE)
    text.add_itxt("Description", note)
    text.add_itxt("Prompt", prompt)
    if inputs:
        text.add_text("Inputs", inputs)
    data = _write_png(picture, text, 1)
    if at_least is None:
        return data
    # The highest level takes four times as long for a fifth of the bytes: only where nothing else is left.
    for colors, level in ((256, 6), (64, 6), (16, 9)):
        if len(data) <= at_least:
            break
        reduced = picture.quantize(colors, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        data = _write_png(reduced, text, level)
    return _pad_png(data, at_least)


def _write_png(picture: Image.Image, text: PngImagePlugin.PngInfo, level: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=level, pnginfo=text)
    return buffer.getvalue()


def _pad_png(data: bytes, size: int) -> bytes:
    """Insert a private ancillary chunk before the end of a PNG; its own frame takes 12 bytes."""
    missing = size - len(data) - 12
    if missing < 0:
        return data
    chunk = b"paDd" + bytes(missing)
    end = len(data) - 12
    return data[:end] + struct.pack(">I", missing) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[end:]


def _pad_jpeg(data: bytes, size: int | None) -> bytes:
    """Insert comment segments after a JPEG's first marker; each has a frame of 4 bytes."""
    missing = (size or 0) - len(data)
    parts = [data[:2]]
    while missing >= 4:
        length = min(missing - 4, _LARGEST_JPEG_COMMENT)
        # Leave enough for one more segment, or nothing: fewer than four bytes can't be filled.
        if 0 < missing - 4 - length < 4:
            length -= 4
        parts.append(b"\xff\xfe" + struct.pack(">H", length + 2) + bytes(length))
        missing -= length + 4
    return b"".join([*parts, data[2:]])


def _pad_webp(data: bytes, size: int | None) -> bytes:
    """Append an unknown chunk to a WebP (RIFF) file, which readers skip; chunks are of even length."""
    missing = ((size or 0) - len(data) - 8) // 2 * 2
    if missing < 0:
        return data
    grown = data + b"PADD" + struct.pack("<I", missing) + bytes(missing)
    return grown[:4] + struct.pack("<I", len(grown) - 8) + grown[8:]
