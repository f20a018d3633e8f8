"""Delivery: approved images are copied to the place that others take them from, with a manifest.

What is there is known from the ledger and compared with what lies there, so that a repeat copies only what is missing.
An image whose verdict is withdrawn is taken back by the next delivery. Images of other criteria (another edition, say)
stay: only verdicts, flags and erasure take back.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..delivery import Marker
from ..errors import BadInput, ImagenError, Unavailable
from ..files import AtomicFile
from ..ledger import Handover, ImageFilter, Ledger, VerdictValue
from ..money import credits_to_usd, format_usd
from ..provenance import SIDECAR, SIDECAR_TYPE, C2pa, Marked, Marking, MarkMode, examine
from ..storage import ChecksumMismatch, KeyTaken, KeyTemplate, ObjectStore, S3Options, open_place, safe_segment
from ..storage.sources import Sources
from ..values import batched
from .choice import iso

DEFAULT_NAMES = "{prompt}-{id}.{ext}"
MANIFEST, SUMMARY = "manifest.jsonl", "summary.json"

_NAMED = (
    *("id", "image_id", "item_id", "sha256", "ext", "model", "edition", "prompt", "verdict", "stars", "revision"),
    *("call", "index", "run", "line", "row"),
)
_FACTS = (
    *("image_id", "item_id", "sha256", "bytes", "content_type", "width", "height", "model", "prompt", "source_prompt"),
    *(
        "revised_prompt",
        "parameters",
        "seed",
        "edition",
        "verdict",
        "stars",
        "reviewer",
        "reviewed_at",
        "review_reason",
    ),
    *("review_note", "flags", "cost_credits", "cost_usd", "run_id", "source_file", "source_line", "source_row"),
    *("revision", "parent_image_id", "requested_at"),
)
_COLUMNS = (*_FACTS, "wire_model", "api_origin", "uri", "client_request_id", "image_index", "reviewed_sha256", "state")
_JSON = ("parameters", "source_row", "flags")
_COPIES_AT_ONCE = 16
_BATCH = 200
_SHORT_PROMPT = 60
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Problem:
    """An image that could not be delivered or taken back."""

    image_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What a delivery did.

    Attributes:
        to: The place, or the file.
        images: Images that are there now.
        copied: Copied now.
        kept: There already.
        withdrawn: Ids of images whose verdict was withdrawn: taken back, or with `keep` still there.
        taken_back: How many of these are gone.
        changed: Ids of images that are not the ones that were approved; they were not delivered.
        problems: What could not be done.
        cost: Credits that the images cost.
    """

    to: str
    images: int = 0
    copied: int = 0
    kept: int = 0
    withdrawn: tuple[str, ...] = ()
    taken_back: int = 0
    changed: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    cost: int = 0

    @property
    def complete(self) -> bool:
        """Whether all that is meant is there, and nothing else."""
        return not self.problems and not self.changed

    def summary(self) -> str:
        """One line."""
        text = f"{self.images:,} images at {self.to}: {self.copied:,} copied, {self.kept:,} there already"
        if self.withdrawn:
            text += f", {self.taken_back:,} of {len(self.withdrawn):,} withdrawn ones taken back"
        if self.changed:
            text += f", {len(self.changed):,} changed since they were reviewed"
        if self.problems:
            text += f", {len(self.problems):,} problems"
        return f"{text}; they cost {format_usd(self.cost)}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return asdict(self)


class IncompleteDelivery(ImagenError):
    """A delivery left something undone. `report` says what."""

    def __init__(self, report: DeliveryReport) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return self.report.summary()


@dataclass(slots=True)
class _Wanted:
    """An image that is to be delivered."""

    row: Mapping[str, Any]
    key: str
    marking: Marking = field(default_factory=Marking)

    @property
    def image_id(self) -> str:
        return str(self.row["image_id"])

    @property
    def copy(self) -> Handover:
        """What is recorded of it: another way of marking makes another copy."""
        mode = self.marking.mode
        sha256 = self.row["sha256"]
        return Handover(self.image_id, self.key, sha256 if mode is MarkMode.NONE else f"{sha256} {mode}")

    def marked(self, source: ObjectStore, key: str) -> Marked:
        """The file to deliver, made of the original, and what belongs beside it."""
        with tempfile.TemporaryDirectory(prefix="imagen-mark-") as folder:
            fetched = source.get(key, Path(folder, "image"))
            if fetched.sha256 != self.row["sha256"]:
                raise ChecksumMismatch(source.uri(key))
            return self.marking.of(fetched.path.read_bytes(), self.row)


def deliver(
    ledger: Ledger,
    to: str | ObjectStore,
    images: ImageFilter,
    *,
    names: str = DEFAULT_NAMES,
    keep: bool = False,
    hold_flagged: bool = False,
    marking: Marking = Marking(),  # noqa: B008 - immutable
    store_options: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> DeliveryReport:
    """Bring a place, or a ZIP file, to what is approved.

    Args:
        ledger: Open.
        to: `s3://bucket/prefix`, a folder, or a file that ends in `.zip`, there or in S3. A place belongs to one
            ledger, and no run stores its images there.
        images: What is meant, with the verdicts that count.
        names: Template of the names.
        keep: Name what was withdrawn, and leave it there.
        hold_flagged: Leave out images with flags, and take them back.
        marking: How the copies are marked: in them, or in a file beside each. What cannot be marked is not delivered.
        store_options: Fields of `S3Options` and `ObjectOptions` for S3.
        say: Told what is being done.

    Raises:
        BadInput: A template that does not fit or gives two images one name; a place of another ledger, or of a run.
        Unavailable: Store or ledger do not answer. The same delivery goes on.
    """
    template = KeyTemplate(names, _NAMED, unique=False)
    options = dict(store_options or {})
    images = replace(images, flagged=False) if hold_flagged else images
    wanted, changed = _wanted(ledger, images, template, marking)
    if isinstance(to, str) and to.lower().endswith(".zip"):
        report = _zip(to, wanted, Sources.of(options), options)
        return replace(report, changed=tuple(changed))
    store = open_place(to, options) if isinstance(to, str) else to
    known = getattr(store, "options", None)
    sources = Sources(known) if isinstance(known, S3Options) else Sources.of(options)
    delivery = _Delivery(ledger, store, sources, say)
    return replace(delivery.run(wanted, images, keep=keep), changed=tuple(changed))


def _wanted(
    ledger: Ledger, images: ImageFilter, template: KeyTemplate, marking: Marking
) -> tuple[list[_Wanted], list[str]]:
    """What is to be delivered, by name; and the ids of images that changed since they were approved."""
    found: dict[str, _Wanted] = {}
    changed: list[str] = []
    for row in ledger.review.all(images, columns=_COLUMNS):
        seen = row["reviewed_sha256"]
        if VerdictValue.APPROVED in images.verdicts and seen is not None and seen != row["sha256"]:
            changed.append(row["image_id"])
            continue
        one = _Wanted(row, template.key(**_fields(row)), marking)
        if one.key in (MANIFEST, SUMMARY) or one.key.startswith(".prefect-imagen"):
            raise BadInput(f"the template {template.template!r} names an image {one.key}, which is a name of our own")
        other = found.setdefault(one.key, one)
        if other is not one:
            raise BadInput(
                f"the template {template.template!r} gives the images {other.image_id} and {one.image_id} the same "
                f"name, {one.key}: put {{id}} or {{image_id}} into it"
            )
    return list(found.values()), changed


def _fields(row: Mapping[str, Any]) -> dict[str, object]:
    call_id, index = row["client_request_id"], row["image_index"]
    prompt = safe_segment(" ".join(row["prompt"].split())[:_SHORT_PROMPT].strip() or "image").strip("_") or "image"
    return {
        **row,
        "id": f"{call_id[-12:]}-{index}",
        "ext": row["uri"].rpartition(".")[2],
        "prompt": prompt,
        "edition": row["edition"] or "default",
        "call": call_id,
        "index": index,
        "run": row["run_id"],
        "line": row["source_line"] or 0,
        "row": json.loads(row["source_row"] or "{}"),
    }


class _Delivery:
    """One delivery to a place."""

    def __init__(self, ledger: Ledger, store: ObjectStore, sources: Sources, say: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._store = store
        self._sources = sources
        self._say = say
        self._problems: list[Problem] = []

    def run(self, wanted: list[_Wanted], images: ImageFilter, *, keep: bool) -> DeliveryReport:
        target = self._store.destination
        self._check_place(target)
        have = self._ledger.handovers.at(target)
        by_id = {one.image_id: one for one in wanted}
        staying, withdrawn = self._sort([image_id for image_id in have if image_id not in by_id], images)
        self._check_names(by_id, {image_id: have[image_id] for image_id in (*staying, *withdrawn)})
        there = {info.key for info in self._store.list()}
        missing = [one for one in wanted if have.get(one.image_id) != one.copy or not there.issuperset(_files(one))]
        copied = self._copy(target, missing, have)
        gone = 0 if keep else self._take_back(target, [have[image_id] for image_id in withdrawn])
        have = self._ledger.handovers.at(target)
        cost = self._write_manifest(have, set(withdrawn))
        return DeliveryReport(
            to=target,
            images=len(have),
            copied=copied,
            kept=len(wanted) - len(missing),
            withdrawn=tuple(withdrawn),
            taken_back=gone,
            problems=tuple(self._problems),
            cost=cost,
        )

    def _check_place(self, target: str) -> None:
        if target in self._ledger.deliveries.destinations():
            raise BadInput(f"{target} is where runs store their images; deliver to a place of its own")
        self._store.preflight()
        Marker(self._ledger, self._store).bind()

    def _sort(self, image_ids: Sequence[str], images: ImageFilter) -> tuple[list[str], list[str]]:
        """Of images that are there and not wanted now: those that may stay, and those that were withdrawn."""
        allowed: set[str] = set()
        for batch in batched(image_ids):
            still = ImageFilter(verdicts=images.verdicts, flagged=images.flagged, image_ids=tuple(batch))
            rows = self._ledger.review.all(still, columns=("sha256", "reviewed_sha256"))
            allowed |= {row["image_id"] for row in rows if row["reviewed_sha256"] in (None, row["sha256"])}
        return (
            [image_id for image_id in image_ids if image_id in allowed],
            [image_id for image_id in image_ids if image_id not in allowed],
        )

    def _check_names(self, wanted: Mapping[str, _Wanted], others: Mapping[str, Handover]) -> None:
        taken = {other.key: image_id for image_id, other in others.items()}
        for one in wanted.values():
            if one.key in taken:
                raise BadInput(
                    f"{self._store.uri(one.key)} is image {taken[one.key]} already, and image {one.image_id} would get "
                    "the same name: put {id} or {image_id} into the template"
                )

    def _copy(self, target: str, missing: Sequence[_Wanted], have: Mapping[str, Handover]) -> int:
        """Copy images, many at a time, and record them in groups."""
        copied = 0
        with ThreadPoolExecutor(_COPIES_AT_ONCE, thread_name_prefix="imagen-deliver") as pool:
            for batch in batched(missing, _BATCH):
                olds = [(have[one.image_id], one) for one in batch if one.image_id in have]
                # The image itself was changed, and approved again.
                self._delete([old for old, one in olds if old.key == one.key and old.sha256 != one.copy.sha256])
                done = dict(filter(None, pool.map(self._copy_one, batch)))
                # It has another name, since the template or what it names was changed.
                self._delete([old for old, one in olds if old.key != one.key and one.image_id in done])
                self._ledger.handovers.add(target, [one.copy for one in batch if one.image_id in done])
                copied += sum(done.values())
                self._say(f"{copied:,} of {len(missing):,} copied")
        return copied

    def _copy_one(self, one: _Wanted) -> tuple[str, bool] | None:
        """The image, and whether it was copied now; None if it could not be."""
        try:
            source, key = self._sources.open(one.row["uri"])
            if one.marking.mode is not MarkMode.NONE:
                return one.image_id, self._put_marked(one, one.marked(source, key))
            stored = self._store.copy(
                source, key, one.key, sha256=one.row["sha256"], content_type=one.row["content_type"]
            )
        except Unavailable:
            raise
        except ImagenError as error:
            self._problems.append(Problem(one.image_id, str(error)))
            return None
        return one.image_id, stored.created

    def _put_marked(self, one: _Wanted, marked: Marked) -> bool:
        """Store a marked copy, its sidecar first; whether the copy is new."""
        if marked.sidecar is not None:
            digest = hashlib.sha256(marked.sidecar).hexdigest()
            self._store.put(one.key + SIDECAR, marked.sidecar, sha256=digest, content_type=SIDECAR_TYPE)
        digest = hashlib.sha256(marked.data).hexdigest()
        try:
            return self._store.put(one.key, marked.data, sha256=digest, content_type=one.row["content_type"]).created
        except KeyTaken:
            # No signature is made twice with the same bytes: a delivery that broke off may have left another one.
            if marked.how is not MarkMode.C2PA or not self._is_signed(one):
                raise
            return False

    def _is_signed(self, one: _Wanted) -> bool:
        with tempfile.TemporaryDirectory(prefix="imagen-mark-") as folder:
            there = examine(self._store.get(one.key, Path(folder, "image")).path).manifest
        return there.state in (C2pa.VALID, C2pa.UNTRUSTED) and there.title == one.image_id

    def _take_back(self, target: str, withdrawn: Sequence[Handover]) -> int:
        gone = self._delete(withdrawn)
        self._ledger.handovers.remove(target, gone)
        return len(gone)

    def _delete(self, copies: Sequence[Handover]) -> list[str]:
        """Delete copies; returns the images whose copies are gone. What a run stored is left where it is."""
        uris = {self._store.uri(copy.key): copy for copy in copies}
        originals = self._ledger.handovers.originals_among(list(uris))
        ours = [copy for uri, copy in uris.items() if uri not in originals]
        deleted = self._store.delete([copy.key for copy in ours])
        self._store.delete([copy.key + SIDECAR for copy in ours if " " in copy.sha256])
        for copy in ours:
            if copy.key in deleted.failed:
                self._problems.append(
                    Problem(copy.image_id, f"{self._store.uri(copy.key)} cannot be deleted: {deleted.failed[copy.key]}")
                )
        return [copy.image_id for copy in copies if copy.key not in deleted.failed]

    def _write_manifest(self, have: Mapping[str, Handover], withdrawn: set[str]) -> int:
        """Write what is there; returns what it cost."""
        rows = ((have[row["image_id"]].key, row) for row in _rows(self._ledger, list(have)))
        with tempfile.TemporaryDirectory(prefix="imagen-deliver-") as folder:
            path = Path(folder, MANIFEST)
            with path.open("wb") as file:
                summary = _write_lines(file.write, rows, withdrawn)
            for name, content, kind in (
                (MANIFEST, path, "application/jsonl"),
                (SUMMARY, _summary(summary, self._ledger.id), "application/json"),
            ):
                digest = hashlib.sha256(content if isinstance(content, bytes) else content.read_bytes()).hexdigest()
                self._store.put(name, content, sha256=digest, content_type=kind, overwrite=True)
        return summary["cost_credits"]


def _files(one: _Wanted) -> list[str]:
    """Keys of what has to be there of an image; of a mark that may be inside, the copy alone."""
    return [one.key, one.key + SIDECAR] if one.marking.mode is MarkMode.SIDECAR else [one.key]


def _rows(ledger: Ledger, image_ids: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    for batch in batched(sorted(image_ids)):
        yield from ledger.review.rows(batch, columns=_COLUMNS)


def _write_lines(
    write: Callable[[bytes], object], rows: Iterable[tuple[str, Mapping[str, Any]]], withdrawn: set[str]
) -> Counter[str]:
    """Write the lines of a manifest, and count what is in them."""
    counted: Counter[str] = Counter(images=0, bytes=0, cost_credits=0)
    for key, row in rows:
        facts = {name: row[name] for name in _FACTS}
        facts |= {name: json.loads(row[name]) if row[name] else None for name in _JSON}
        facts |= {name: iso(row[name]) for name in ("reviewed_at", "requested_at")}
        facts["cost_usd"] = float(row["cost_usd"]) if row["cost_usd"] is not None else None
        line = {"key": key, **facts, **({"withdrawn": True} if row["image_id"] in withdrawn else {})}
        write(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        counted["images"] += 1
        counted["bytes"] += row["bytes"] or 0
        counted["cost_credits"] += int(row["cost_credits"] or 0)
        counted[f"verdict {row['verdict']}"] += 1
        counted["withdrawn"] += row["image_id"] in withdrawn
    return counted


def _summary(counted: Counter[str], ledger_id: str) -> bytes:
    verdicts = {name.removeprefix("verdict "): n for name, n in counted.items() if name.startswith("verdict ")}
    document = {
        "ledger_id": ledger_id,
        **{name: counted[name] for name in ("images", "bytes", "cost_credits", "withdrawn")},
        "cost_usd": float(credits_to_usd(counted["cost_credits"])),
        "verdicts": verdicts,
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _zip(to: str, wanted: Sequence[_Wanted], sources: Sources, options: Mapping[str, Any]) -> DeliveryReport:
    """Write a ZIP file, which appears whole; the same images give the same bytes."""
    problems: list[Problem] = []
    with tempfile.TemporaryDirectory(prefix="imagen-deliver-") as folder:
        path = Path(folder, "delivery.zip")
        kept: list[tuple[str, Mapping[str, Any]]] = []
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for one in sorted(wanted, key=lambda one: one.key):
                try:
                    source, key = sources.open(one.row["uri"])
                    marked = one.marked(source, key)
                except Unavailable:
                    raise
                except ImagenError as error:
                    problems.append(Problem(one.image_id, str(error)))
                    continue
                archive.writestr(_entry(one.key), marked.data)
                if marked.sidecar is not None:
                    archive.writestr(_entry(one.key + SIDECAR), marked.sidecar)
                kept.append((one.key, one.row))
            with archive.open(_entry(MANIFEST), "w") as out:
                counted = _write_lines(out.write, kept, set())
        where = _put_zip(path, to, options)
    return DeliveryReport(
        where, images=len(kept), copied=len(kept), problems=tuple(problems), cost=counted["cost_credits"]
    )


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _ZIP_DATE)
    entry.external_attr = 0o644 << 16
    return entry


def _put_zip(path: Path, to: str, options: Mapping[str, Any]) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if "://" in to:
        place, _, name = to.rpartition("/")
        store = open_place(place, options)
        return store.put(name, path, sha256=digest, content_type="application/zip", overwrite=True).uri
    target = Path(to).expanduser().absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with AtomicFile(target, sync=True) as out, path.open("rb") as file:
            shutil.copyfileobj(file, out.file)
            out.commit()
    except OSError as error:
        raise Unavailable(f"{target} cannot be written: {error.strerror or error}") from error
    return target.as_uri()
