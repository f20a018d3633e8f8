"""A contact sheet: the images of a run on one page, fetched from where they were delivered."""

from __future__ import annotations

import io
import math
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .errors import ImagenError
from .images import thumbnail
from .ledger import ImageState, Ledger
from .storage import ObjectStore

_PAPER = (250, 249, 246)
_INK = (40, 40, 44)
_GAP = 14
_CAPTION = 34
_COLUMNS = 6
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class ContactSheet:
    """A page of thumbnails. `shown` is how many."""

    page: Image.Image
    shown: int

    def save(self, path: Path) -> None:
        """Write it as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.save(path, "PNG", optimize=True)

    def jpeg(self, *, max_bytes: int) -> bytes:
        """A JPEG of at most about `max_bytes`: smaller until it fits."""
        page = self.page
        while True:
            buffer = io.BytesIO()
            page.save(buffer, "JPEG", quality=80, optimize=True)
            if buffer.tell() <= max_bytes or page.width < 200:
                return buffer.getvalue()
            page = page.resize((page.width * 3 // 4, page.height * 3 // 4), Image.Resampling.LANCZOS)


def contact_sheet(
    ledger: Ledger, store: ObjectStore, run_id: str, *, limit: int = 24, width: int = 1440
) -> ContactSheet | None:
    """Put the first images of a run on a page.

    Args:
        ledger: Knows which and where.
        store: The run's destination.
        run_id: The run.
        limit: Images at most.
        width: Of the page, in pixels.

    Returns:
        None if the run has no stored image at this store.
    """
    rows = [
        row
        for row in ledger.catalog.rows(run_id=run_id, limit=limit)
        if row["state"] == ImageState.STORED and row["destination"] == store.destination
    ]
    if not rows:
        return None
    columns = min(_COLUMNS, max(1, math.ceil(math.sqrt(len(rows) * 1.5))))
    side = (width - _GAP) // columns - _GAP
    with tempfile.TemporaryDirectory(prefix="imagen-") as folder, ThreadPoolExecutor(_AT_ONCE) as threads:
        made = threads.map(lambda row: _thumbnail(store, row["object_key"], Path(folder) / row["image_id"], side), rows)
        found = zip(made, rows, strict=True)
        pictures = [(picture, row["prompt"]) for picture, row in found if picture is not None]
    return ContactSheet(_page(pictures, columns, side, width), len(pictures)) if pictures else None


def _page(pictures: list[tuple[Image.Image, str]], columns: int, side: int, width: int) -> Image.Image:
    tallest = max(picture.height for picture, _ in pictures)
    step = tallest + _CAPTION + _GAP
    page = Image.new("RGB", (width, _GAP + math.ceil(len(pictures) / columns) * step), _PAPER)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=12)
    for place, (picture, prompt) in enumerate(pictures):
        left = _GAP + place % columns * (side + _GAP)
        top = _GAP + place // columns * step
        page.paste(picture, (left + (side - picture.width) // 2, top + (tallest - picture.height) // 2))
        draw.multiline_text((left, top + tallest + 4), _caption(prompt, font, side), _INK, font, spacing=2)
    return page


def _thumbnail(store: ObjectStore, key: str, path: Path, side: int) -> Image.Image | None:
    """A small copy of an image; None where it cannot be had."""
    try:
        store.get(key, path)
        return thumbnail(path, side)
    except (ImagenError, OSError):  # the store is away, or somebody has replaced the file
        return None
    finally:
        path.unlink(missing_ok=True)


def _caption(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Two lines of the prompt at most."""
    lines: list[str] = [""]
    for word in text.split():
        candidate = f"{lines[-1]} {word}".strip()
        if font.getlength(candidate) <= width or not lines[-1]:
            lines[-1] = candidate
        elif len(lines) == 2:
            lines[-1] = f"{lines[-1]} …"
            break
        else:
            lines.append(word)
    while len(lines[-1]) > 1 and font.getlength(lines[-1]) > width:
        lines[-1] = f"{lines[-1].removesuffix('…')[:-1]}…"
    return "\n".join(lines)
