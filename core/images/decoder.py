"""The program of a decoder's process: draws pictures that a stranger made, one by one, and says what came of it.

`core.images.drawing` starts it, and it imports nothing but Pillow. What a decoder does with hostile bytes cannot be
foreseen: it may run for hours, fill the memory or crash. Here none of that harms a run, and here is no key to be found:
the process has an environment of its own, limits of memory and processor, and writes no file.

A request is a line of JSON and then the bytes; an answer is a line of JSON and then the bytes of a thumbnail, if one is
wanted.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import warnings
from typing import IO, Any

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

resource: Any = None  # not everywhere
with contextlib.suppress(ImportError):
    import resource

_PLUGINS = {
    "PNG": "Png",
    "JPEG": "Jpeg",
    "WEBP": "WebP",
    "GIF": "Gif",
    "BMP": "Bmp",
    "TIFF": "Tiff",
    "AVIF": "Avif",
    "JPEG2000": "Jpeg2K",
}
_BAND = 16
_GREY = (127, 129)
_ON_ITS_SIDE = 5
"""From here on, what EXIF says of a picture exchanges its sides."""
_ROUNDS = 12


def _memory() -> int:
    """Bytes of data that this process has now; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/status") as status:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
    return 0


def _limit(memory: int, seconds: int) -> None:
    """Allow so much more memory, and so much more time of the processor, than were used until now."""
    if resource is None:  # what asked for the picture still has a deadline
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    limits = {resource.RLIMIT_CPU: int(used.ru_utime + used.ru_stime) + 1 + seconds}
    if now := _memory():
        limits[resource.RLIMIT_DATA] = now + memory
    for which, value in limits.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (value, resource.getrlimit(which)[1]))


def _free_memory() -> None:
    """Take the last picture's limit back: the next one's bytes may be many more than it needed."""
    if resource is not None:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (resource.getrlimit(resource.RLIMIT_DATA)[1],) * 2)


def _grey_rows(image: Image.Image) -> int:
    """Rows at the end that are mid-grey throughout: what a JPEG decoder makes of data that are not there."""
    rows = 0
    while rows < image.height:
        band = image.crop((0, max(0, image.height - rows - _BAND), image.width, image.height - rows))
        found: Any = band.getextrema()
        extrema = found if isinstance(found[0], tuple) else (found,)
        if not all(_GREY[0] <= low <= high <= _GREY[1] for low, high in extrema):
            break
        rows += band.height
    return rows


def _draw(image: Image.Image, job: dict[str, Any]) -> dict[str, Any]:
    """Draw every frame, one in memory at a time, or the first one alone where all of them are too many pixels."""
    width, height = image.size
    if width * height > job["pixels"]:
        return {"error": f"{width:,} x {height:,} pixels, and its header says less"}
    # A second picture inside a JPEG (MPO) is an attachment, not a frame.
    frames = 1 if job["format"] == "JPEG" else getattr(image, "n_frames", 1)
    drawn = frames if width * height * frames <= job["pixels"] else 1
    for frame in range(drawn):
        image.seek(frame)
        image.load()
        if image.size[0] * image.size[1] > job["pixels"]:
            return {"error": "a frame is larger than the header says"}
    answer = {"width": width, "height": height, "frames": frames, "drawn": drawn}
    if job["cut"]:
        answer["grey"] = _grey_rows(image)
    return answer


def _thumbnail(image: Image.Image, side: int) -> tuple[dict[str, Any], bytes]:
    image.draft("RGB", (side * 2, side * 2))
    picture = image.convert("RGB")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return {"width": picture.width, "height": picture.height}, picture.tobytes()


def _upright(image: Image.Image) -> tuple[Image.Image, bool]:
    """A picture as it is to be seen, in sRGB and a mode that every format has; and whether that is another one."""
    picture, changed = image, _orientation(image) not in (0, 1)
    if changed:
        picture = ImageOps.exif_transpose(image)
    if profile := image.info.get("icc_profile"):
        # A profile that cannot be read, or is none of these colours, says nothing.
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(given).lower():
                clear = image.has_transparency_data
                picture = _in_srgb(picture.convert("RGBA" if clear else picture.mode), given)
                changed = True
    if picture.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        picture, changed = picture.convert("RGB"), True
    return picture, changed


def _orientation(image: Image.Image) -> int:
    """How the picture lies, as EXIF says it: 1 to 8."""
    said = image.getexif().get(0x0112, 1)
    return said if isinstance(said, int) and 1 <= said <= 8 else 1


def _in_srgb(picture: Image.Image, given: ImageCms.ImageCmsProfile) -> Image.Image:
    if picture.mode == "P":
        picture = picture.convert("RGB")
    mode = "RGBA" if picture.mode == "RGBA" else "RGB"
    made = ImageCms.profileToProfile(picture, given, ImageCms.createProfile("sRGB"), outputMode=mode)
    return made or picture


def _encoded(picture: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "JPEG":
        picture.convert("RGB").save(out, "JPEG", quality=95, subsampling=0)
    else:
        picture.save(out, "PNG")
    return out.getvalue()


def _ready(image: Image.Image, job: dict[str, Any], size: int) -> tuple[dict[str, Any], bytes]:
    """A copy that can go into a request; see `core.images.drawing.prepare`."""
    wanted = job["ready"]
    frames = 1 if job["format"] == "JPEG" else getattr(image, "n_frames", 1)
    image.load()
    width, height = image.size if _orientation(image) < _ON_ITS_SIDE else image.size[::-1]
    answer: dict[str, Any] = {
        "width": width,
        "height": height,
        "frames": frames,
        "transparent": bool(image.has_transparency_data),
    }
    if not wanted["side"]:
        return answer, b""
    too_large = max(image.size) > wanted["side"] or size > wanted["most"]
    if max(image.size) > wanted["side"]:
        if image.mode == "P":
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        image.thumbnail((wanted["side"],) * 2, Image.Resampling.LANCZOS)
    picture, changed = _upright(image)
    if not changed and not too_large and wanted["given"] in wanted["formats"]:
        return answer, b""
    if picture.has_transparency_data and picture.mode not in ("LA", "RGBA"):
        picture = picture.convert("RGBA")
    picture.info.clear()
    if picture.mode == "P":
        picture = picture.convert("RGB")
    opaque = picture.mode not in ("LA", "RGBA") or picture.getextrema()[-1] == (255, 255)
    as_jpeg = wanted["given"] == "image/jpeg" or size > wanted["most"]
    kind = "JPEG" if opaque and as_jpeg and not wanted["lossless"] else "PNG"
    side = min(wanted["side"], max(picture.size))
    for _ in range(_ROUNDS):
        small = picture.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        made = _encoded(small, kind)
        if len(made) <= wanted["most"]:
            return {**answer, "content_type": "image/jpeg" if kind == "JPEG" else "image/png"}, made
        side = max(1, int(side * min(0.9, (wanted["most"] / len(made)) ** 0.5)))
    return {"error": "it cannot be made small enough"}, b""


def _answer(job: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        importlib.import_module(f"PIL.{_PLUGINS[job['format']]}ImagePlugin")
        _limit(job["memory"], job["seconds"])
        with Image.open(io.BytesIO(data), formats=(job["format"],)) as image:
            if job.get("ready"):
                return _ready(image, job, len(data))
            if job["side"]:
                return _thumbnail(image, job["side"])
            return _draw(image, job), b""
    except MemoryError:
        return {"error": "it takes more memory than its size calls for"}, b""
    except UnidentifiedImageError:
        return {"error": "its decoder does not know it"}, b""
    except Exception as error:  # noqa: BLE001 - a hostile file can make a decoder raise anything
        return {"error": " ".join(str(error).split())[:120] or type(error).__name__}, b""
    finally:
        _free_memory()


def _prepare() -> IO[bytes]:
    """Get ready, and return where answers go. What libraries print goes nowhere."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    Image.MAX_IMAGE_PIXELS = None  # every request brings its own limit
    warnings.simplefilter("ignore")
    if resource is not None:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with contextlib.suppress(ImportError):
        from PIL import AvifImagePlugin

        # Threads of its own would multiply the memory of one picture.
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return out


def main() -> None:
    """Serve until there are no more requests: also when the process that asks is gone."""
    out = _prepare()
    requests = sys.stdin.buffer
    while line := requests.readline():
        job = json.loads(line)
        answer, pixels = _answer(job, requests.read(job["bytes"]))
        out.write(json.dumps({**answer, "bytes": len(pixels)}).encode() + b"\n")
        out.write(pixels)
        out.flush()


if __name__ == "__main__":
    main()
