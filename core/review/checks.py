"""Free checks: blank, wrong shape, a border, blur, alike, and checks of one's own. They flag, and do nothing else."""

from __future__ import annotations

import hashlib
import importlib
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image, ImageFilter, ImageStat

from ..errors import BadInput, ImagenError, Unavailable
from ..images import NotAnImage, thumbnail
from ..ledger import Checked, Grouped, Known, Ledger
from ..ledger import ImageFilter as Which
from ..request import CheckOptions
from ..storage.sources import Sources
from ..values import batched, canonical_json
from .choice import loaded
from .duplicates import Groups, alike, counts, dhash

DUPLICATE, NEAR_DUPLICATE, UNREADABLE = "duplicate", "near-duplicate", "unreadable"
_OF_GROUPS = (DUPLICATE, NEAR_DUPLICATE)
_COLUMNS = ("image_id", "item_id", "uri", "sha256", "model", "prompt", "parameters", "width", "height", "damage")
_VERSION = 1
_NOT_OF_AN_IMAGE = {"within", "distance", "again"}
_FLAG = re.compile(r"[a-z][a-z0-9-]{0,49}")
_BATCH = 64
_AT_ONCE = 4
_LARGE_SIDE = 1024
_SIDE = 512
_SMALLEST = 16
_SIZE = re.compile(r"(\d+)\s*[x*]\s*(\d+)")
_RATIO = re.compile(r"(\d+):(\d+)")
_EDGES = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), 1, 128)

OwnCheck = Callable[[Image.Image, Mapping[str, Any]], Any]
"""A check of one's own: it is given the picture, of at most 1024 pixels a side, and what the catalog knows of it. It
returns None where nothing is wrong; a text, which becomes the detail of a flag of the function's name; or flags with
their details."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What checks found.

    Attributes:
        images: Images that were meant.
        checked: Those that were looked at now; the others were before.
        flags: Images by flag, of those that were looked at now.
        flagged: Those of them with any flag.
        groups: Groups of images that look alike, in the whole catalog.
        problems: Checks of one's own that failed, each once; their images are looked at again the next time.
    """

    images: int
    checked: int
    flags: Mapping[str, int] = field(default_factory=dict)
    flagged: int = 0
    groups: int = 0
    problems: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line."""
        found = ", ".join(f"{count:,} {flag}" for flag, count in sorted(self.flags.items()))
        text = f"{self.checked:,} of {self.images:,} images checked now: {self.flagged:,} flagged"
        return text + (f" ({found})" if found else "") + f"; {self.groups:,} groups of images that look alike"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return asdict(self)


def check_images(
    ledger: Ledger,
    images: Which,
    options: CheckOptions | None = None,
    *,
    sources: Sources | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> CheckReport:
    """Look at images that were not looked at before, or not like that; then find which look alike.

    Args:
        ledger: Open.
        images: What is meant.
        options: Thresholds, and checks of one's own.
        sources: Where images are read from.
        say: Told what is being done.

    Raises:
        BadInput: A check of one's own that cannot be found.
        Unavailable: Store or ledger do not answer. What was looked at is recorded.
    """
    options = options or CheckOptions()
    own = [(name, _import(name)) for name in options.own]
    settings = hashlib.sha256(
        canonical_json([_VERSION, options.model_dump(mode="json", exclude=_NOT_OF_AN_IMAGE)]).encode()
    ).hexdigest()[:16]
    checker = _Checker(options, own, settings, sources or Sources())
    total = checked = 0
    new: list[str] = []
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="imagen-check") as pool:
        for batch in batched(ledger.review.all(images, columns=_COLUMNS), _BATCH):
            total += len(batch)
            ids = [row["image_id"] for row in batch]
            done = set() if options.again else ledger.checks.done(ids, settings)
            found = [
                one for one in pool.map(checker.check, [row for row in batch if row["image_id"] not in done]) if one
            ]
            ledger.checks.record(found)
            new += [one.image_id for one in found]
            if len(new) > checked:
                checked = len(new)
                say(f"{checked:,} checked")
    groups = find_duplicates(ledger, options)
    flags: Counter[str] = Counter()
    flagged = 0
    for row in ledger.review.rows(new, columns=("flags",)):
        names = loaded(row["flags"]) or []
        flags.update(names)
        flagged += bool(names)
    return CheckReport(total, len(new), dict(flags), flagged, groups, tuple(dict.fromkeys(checker.problems)))


def find_duplicates(ledger: Ledger, options: CheckOptions) -> int:
    """Group what looks alike among all images that were checked; returns the number of groups in the catalog.

    Every member of a group but the oldest is flagged: `duplicate` where the same bytes are there already, else
    `near-duplicate`.
    """
    known = list(ledger.checks.known())
    names = [one.image_id for one in known]
    everywhere, in_run = Groups(names), Groups(names)
    for first, second in _pairs(known, options.distance):
        everywhere.join(first, second)
        if known[first].run_id == known[second].run_id:
            in_run.join(first, second)
    groups, run_groups = everywhere.named(), in_run.named()
    seen: set[tuple[str, str | None]] = set()
    changed = []
    for place, one in enumerate(known):
        group, run_group = groups[place], run_groups[place]
        scope = run_group if options.within == "run" else group
        flags = {name: detail for name, detail in one.details.items() if name not in _OF_GROUPS}
        if scope is not None:
            if scope != one.image_id:
                same = (scope, one.sha256) in seen
                flags[DUPLICATE if same else NEAR_DUPLICATE] = f"like image {scope}"
            seen.add((scope, one.sha256))
        if (group, run_group, flags) != (one.group, one.run_group, dict(one.details)):
            changed.append(Grouped(one.image_id, group, run_group, flags))
    for batch in batched(changed, 1000):
        ledger.checks.regroup(batch)
    return len({group for group in groups if group is not None})


def _pairs(known: Sequence[Known], distance: int) -> Iterator[tuple[int, int]]:
    """Places of images that look alike: enough of them to join each group, in the whole and in each run."""
    by_hash: dict[int, list[int]] = {}
    by_content: dict[str, list[int]] = {}
    for place, one in enumerate(known):
        if one.sha256 is not None:
            by_content.setdefault(one.sha256, []).append(place)
        if one.dhash is not None and counts(value := int(one.dhash, 16)):
            by_hash.setdefault(value, []).append(place)
    for places in (*by_content.values(), *by_hash.values()):
        yield from _chained(places, known)
    for first, second in alike(by_hash, distance):
        yield by_hash[first][0], by_hash[second][0]
        runs = {known[place].run_id: place for place in reversed(by_hash[first])}
        for place in by_hash[second]:
            if known[place].run_id in runs:
                yield runs[known[place].run_id], place


def _chained(places: Sequence[int], known: Sequence[Known]) -> Iterator[tuple[int, int]]:
    last: dict[str, int] = {}
    yield from pairwise(places)
    for place in places:
        run_id = known[place].run_id
        if run_id in last:
            yield last[run_id], place
        last[run_id] = place


class _Checker:
    def __init__(
        self, options: CheckOptions, own: Sequence[tuple[str, OwnCheck]], settings: str, sources: Sources
    ) -> None:
        self._options = options
        self._own = own
        self._settings = settings
        self._sources = sources
        self.problems: list[str] = []

    def check(self, row: Mapping[str, Any]) -> Checked | None:
        """What is found in an image; None if a check of one's own failed."""
        try:
            data = self._read(row["uri"])
            if hashlib.sha256(data).hexdigest() != row["sha256"]:
                raise NotAnImage("not the image that was bought")
            picture = thumbnail(data, _LARGE_SIDE)
            if picture is None:
                raise NotAnImage("it cannot be drawn here")
        except Unavailable:
            raise
        except ImagenError as error:
            reason = getattr(error, "reason", None) or str(error)
            return Checked(row["image_id"], row["sha256"], {UNREADABLE: reason}, None, self._settings)
        try:
            flags = {**found_in(picture, row, self._options), **self._own_flags(picture, row)}
        except _OwnCheckFailed as error:
            self.problems.append(str(error))
            return None
        return Checked(row["image_id"], row["sha256"], flags, dhash(picture), self._settings)

    def _read(self, uri: str) -> bytes:
        store, key = self._sources.open(uri)
        with tempfile.TemporaryDirectory(prefix="imagen-check-") as folder:
            return store.get(key, Path(folder, "image")).path.read_bytes()

    def _own_flags(self, picture: Image.Image, row: Mapping[str, Any]) -> dict[str, str]:
        flags: dict[str, str] = {}
        facts = {**row, "parameters": loaded(row["parameters"])}
        for name, check in self._own:
            try:
                flags |= _as_flags(name, check(picture.copy(), facts))
            except Exception as error:  # noqa: BLE001 - whatever a function of somebody else raises
                raise _OwnCheckFailed(f"the check {name} failed: {type(error).__name__}: {error}") from None
        return flags


class _OwnCheckFailed(Exception):
    pass


def found_in(picture: Image.Image, row: Mapping[str, Any], options: CheckOptions) -> dict[str, str]:
    """The flags of one picture in itself, with what was found."""
    size = (row.get("width") or picture.width, row.get("height") or picture.height)
    flags = shape_flags(size, loaded(row["parameters"]) or {}, options.ratio_tolerance)
    if row.get("damage"):
        flags["damaged"] = row["damage"]
    small = picture.copy()
    small.thumbnail((_SIDE, _SIDE))
    spread = max(ImageStat.Stat(small).stddev)
    if spread < options.blank_below:
        colour = "#{:02x}{:02x}{:02x}".format(*(round(value) for value in ImageStat.Stat(small).mean))
        return {**flags, "blank": f"nearly one colour, {colour}"}
    if (border := border_of(small, options.border_from)) is not None:
        flags["border"] = border
    sharpness = sharpness_of(small)
    if sharpness < options.blur_below:
        flags["blur"] = f"sharpness {sharpness:.1f}, below {options.blur_below:g}"
    return flags


def sharpness_of(picture: Image.Image) -> float:
    """How much brightness changes from pixel to pixel: the variance of its second derivative."""
    width, height = picture.size
    if width < _SMALLEST or height < _SMALLEST:
        return float("inf")
    # The filter leaves the outermost pixels as they are.
    return float(ImageStat.Stat(picture.convert("L").filter(_EDGES).crop((1, 1, width - 1, height - 1))).var[0])


def shape_flags(size: tuple[int, int], parameters: Mapping[str, Any], tolerance: float) -> dict[str, str]:
    """Whether a picture has the size or the ratio that was asked for; empty where nothing was.

    Example:
        >>> shape_flags((1024, 1024), {"aspect_ratio": "16:9"}, 0.1)
        {'ratio': '1024x1024 instead of 16:9'}
    """
    width, height = size
    wanted = _wanted_size(parameters)
    if wanted is not None:
        return {} if wanted == size else {"size": f"{width}x{height} instead of {wanted[0]}x{wanted[1]}"}
    for value in parameters.values():
        if isinstance(value, str) and (found := _RATIO.fullmatch(value)) and 0 not in map(int, found.groups()):
            ratio = int(found[1]) / int(found[2])
            if abs(width / height / ratio - 1) > tolerance:
                return {"ratio": f"{width}x{height} instead of {value}"}
    return {}


def _wanted_size(parameters: Mapping[str, Any]) -> tuple[int, int] | None:
    for value in parameters.values():
        if isinstance(value, str) and (found := _SIZE.fullmatch(value)):
            return int(found[1]), int(found[2])
    for place in (parameters, *(value for value in parameters.values() if isinstance(value, Mapping))):
        width, height = place.get("width"), place.get("height")
        if isinstance(width, int) and isinstance(height, int):
            return width, height
    return None


def border_of(picture: Image.Image, share: float) -> str | None:
    """Describe a border of one colour on two opposite sides, if it takes at least so much of the picture on each."""
    width, height = picture.size
    for across, names in ((False, "top and bottom"), (True, "left and right")):
        length = width if across else height
        strip = max(2, round(length * share))
        if strip * 3 > length:
            continue
        sides = (
            (picture.crop((0, 0, strip, height)), picture.crop((width - strip, 0, width, height)))
            if across
            else (picture.crop((0, 0, width, strip)), picture.crop((0, height - strip, width, height)))
        )
        found = [ImageStat.Stat(side) for side in sides]
        flat = all(max(one.stddev) < 2.0 for one in found)
        if flat and max(abs(a - b) for a, b in zip(found[0].mean, found[1].mean, strict=True)) < 4.0:
            return f"one colour on {names}"
    return None


def _import(name: str) -> OwnCheck:
    module, separator, function = name.partition(":")
    if not separator or not module or not function:
        raise BadInput(f"a check of your own is named as module:function, not {name!r}")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - the module may do anything when it is imported
        raise BadInput(f"the check {name}: the module cannot be imported: {type(error).__name__}: {error}") from None
    for part in function.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise BadInput(f"the check {name}: the module {module} has no function {function}")
    check: OwnCheck = found
    return check


def _as_flags(name: str, said: Any) -> dict[str, str]:
    """What a check of one's own says, as flags with details."""
    if said is None or said is False:
        return {}
    if isinstance(said, str | bool):
        said = {name.rpartition(":")[2].rpartition(".")[2].strip("_").replace("_", "-").lower(): said}
    elif not isinstance(said, Mapping):
        said = dict.fromkeys(said, "")
    flags = {str(flag): "" if detail is True else str(detail)[:1000] for flag, detail in said.items()}
    for flag in flags:
        if not _FLAG.fullmatch(flag):
            raise ValueError(f"{flag!r} is no name of a flag: lower-case letters, digits and hyphens")
    return flags
