"""The audit: which pictures of a place are marked, how, by whom, whether that holds, and what is missing.

A picture is marked if a machine can read that an AI made it: from a C2PA manifest that holds, from XMP in the file, or
from a sidecar beside it. It is sound if it is marked and nothing about it is broken.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..errors import BadInput, ImagenError
from ..files import Fetched
from ..images import EXTENSIONS, NotAnImage
from ..images.signature import read_header
from ..ledger import Ledger, Review, VerdictValue, image_key
from ..storage import LocalStore, ObjectInfo, ObjectStore, open_place, open_store
from ..values import to_spreadsheet
from .errors import UnreadableXmp
from .examine import Provenance, examine
from .look import LARGEST_PACKET
from .manifest import C2pa
from .mark import SIDECAR
from .splice import unsplice
from .xmp import AI_MADE, original_sha256, read, source_type

PICTURES = (*(f".{ext}" for ext in EXTENSIONS), ".jpeg", ".tif", ".heif")
_LARGEST = 256 * 2**20
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Checked:
    """One picture of an audit.

    Attributes:
        uri: Where it is.
        marked: How: `c2pa`, `xmp`, `sidecar`, several with `+` between them; empty if it is not.
        by: Who says so: the issuer of the certificate, else the AI system or software that the mark names.
        c2pa: What its manifest is worth.
        generator: The software that made the manifest.
        actions: What the manifest says was done.
        parent: Who signed the manifest that it had before this one.
        source_type: The digital source type that it says.
        system: The AI system or software that it names.
        made_at: When it was made, as it says.
        sha256: Of the file.
        original_sha256: Of the provider's file: without our mark, or the file itself; None if that cannot be told.
        verdict: As the ledger has it, where there is one that knows the picture; else `rejected`, or its rating, as the
            mark says. None for none.
        missing: What a mark should say, and this does not.
        problems: What is broken.
        image_id: The unique id that the mark gives it.
    """

    uri: str
    marked: str = ""
    by: str | None = None
    c2pa: C2pa = C2pa.NONE
    generator: str | None = None
    actions: tuple[str, ...] = ()
    parent: str | None = None
    source_type: str | None = None
    system: str | None = None
    made_at: str | None = None
    sha256: str | None = None
    original_sha256: str | None = None
    verdict: str | None = None
    missing: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    image_id: str | None = None

    @property
    def sound(self) -> bool:
        """Whether it is marked and nothing is broken."""
        return bool(self.marked) and not self.problems

    @property
    def state(self) -> str:
        """`marked`, `unmarked` or `broken`."""
        return "broken" if self.problems else "marked" if self.marked else "unmarked"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {"state": self.state, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of an audit.

    Attributes:
        pictures: Every picture that was found, in the order of the places and their keys.
        others: Objects that are not named as pictures, and were not looked at.
    """

    pictures: Sequence[Checked]
    others: int = 0

    @property
    def sound(self) -> bool:
        """Whether every picture is marked and none is broken."""
        return all(picture.sound for picture in self.pictures)

    @property
    def counts(self) -> dict[str, int]:
        """Pictures by `marked`, `unmarked` and `broken`."""
        found = Counter(picture.state for picture in self.pictures)
        return {state: found[state] for state in ("marked", "unmarked", "broken")}

    @property
    def ways(self) -> dict[str, int]:
        """Marked pictures by how."""
        return dict(sorted(Counter(picture.marked for picture in self.pictures if picture.sound).items()))

    def summary(self) -> str:
        """In a sentence."""
        counts = self.counts
        return f"{len(self.pictures):,} pictures: " + ", ".join(f"{counts[state]:,} {state}" for state in counts)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "sound": self.sound,
            "counts": self.counts,
            "ways": self.ways,
            "others": self.others,
            "pictures": [picture.as_dict() for picture in self.pictures],
        }

    def as_csv(self) -> str:
        """The pictures as CSV with a line of headings; several values are separated by `; `.

        Names and what pictures say of themselves are texts of strangers: no spreadsheet runs them.
        """
        out = io.StringIO()
        rows = csv.writer(out, lineterminator="\n")
        names = ["state", *(one.name for one in fields(Checked))]
        rows.writerow(names)
        for picture in self.pictures:
            values = picture.as_dict()
            cells = ("; ".join(v) if isinstance(v := values[name], tuple) else v for name in names)
            rows.writerow(to_spreadsheet(cell) if isinstance(cell, str) else cell for cell in cells)
        return out.getvalue()


class UnsoundAudit(ImagenError):
    """A picture is unmarked or broken; `audit` says which."""

    def __init__(self, audit: Audit) -> None:
        super().__init__(audit)
        self.audit = audit

    def __str__(self) -> str:
        return self.audit.summary()


def check(data: bytes, *, uri: str = "", sidecar: bytes | None = None, trust: str | None = None) -> Checked:
    """Check one picture.

    Args:
        data: Its file.
        uri: Where it is.
        sidecar: The content of the file beside it.
        trust: PEM text of the roots under which C2PA signatures are trusted.
    """
    found = examine(data, trust)
    problems = list(_problems(data, found))
    beside: Mapping[str, str] = {}
    if sidecar is not None:
        try:
            beside = read(sidecar)
        except UnreadableXmp as error:
            problems.append(f"sidecar: {error}")
    sha256 = hashlib.sha256(data).hexdigest()
    if original_sha256(beside) not in (None, sha256):
        problems.append("the sidecar belongs to another file: its hash of the original is not this file's")
        beside = {}
    said = {**found.said, **beside}
    signed = found.manifest.state not in (C2pa.NONE, C2pa.INVALID)
    ways = {
        "c2pa": signed and (found.manifest.state is C2pa.PRESENT or found.manifest.source_type in AI_MADE),
        "xmp": source_type(found.said) in AI_MADE,
        "sidecar": source_type(beside) in AI_MADE,
    }
    issuer = found.manifest.issuer if signed else None
    system = said.get("Iptc4xmpExt:AISystemUsed") or (found.manifest.generator if signed else None)
    made_at = said.get("xmp:CreateDate") or (found.manifest.signed_at if signed else None)
    origin, original = original_sha256(found.said), None
    if origin is not None and found.manifest.state is C2pa.NONE:
        original = unsplice(data)
        if original is None:
            problems.append("changed since it was marked: without the mark it is not the original")
    rating = said.get("xmp:Rating")
    kind = (found.manifest.source_type if signed else None) or source_type(said)
    named = {
        "digital source type": found.manifest.state is C2pa.PRESENT or kind in AI_MADE,
        "AI system": system or found.manifest.state is C2pa.PRESENT,
        "time": made_at or signed,
        "unique id": said.get("Iptc4xmpExt:DigImageGUID") or said.get("dc:identifier") or signed,
    }
    return Checked(
        uri,
        "+".join(way for way, is_so in ways.items() if is_so),
        issuer or said.get("Iptc4xmpExt:AISystemUsed") or said.get("xmp:CreatorTool"),
        found.manifest.state,
        found.manifest.generator,
        found.manifest.actions,
        found.manifest.parent_issuer,
        kind,
        system,
        made_at,
        sha256,
        (origin if original is not None else None) if origin is not None else sha256,
        None if rating is None else "rejected" if rating == "-1" else f"rated {rating}",
        tuple(name for name, is_there in named.items() if not is_there),
        tuple(problems),
        said.get("Iptc4xmpExt:DigImageGUID"),
    )


def _problems(data: bytes, found: Provenance) -> Iterator[str]:
    try:
        read_header(data)
    except NotAnImage as error:
        yield error.reason
    if found.manifest.state is C2pa.INVALID:
        yield f"C2PA does not hold: {', '.join(found.manifest.problems) or 'no reason given'}"
    if found.problem:
        yield found.problem


@dataclass(frozen=True, slots=True)
class _Job:
    store: ObjectStore
    key: str
    size: int
    has_sidecar: bool
    image_id: str | None = None  # and the hash of the original, where a ledger knows them
    sha256: str | None = None


@dataclass(slots=True)
class _Auditor:
    """Collects what an audit looks at: pictures with their stores and what lies beside them."""

    trust: str | None = None
    say: Callable[[str], None] = lambda _: None
    ledger: Ledger | None = None
    _jobs: list[_Job] = field(default_factory=list)
    _others: int = 0

    def add(self, where: str, **options: Any) -> None:
        """Add everything at a prefix or folder, or one file or object.

        Args:
            where: `s3://bucket/prefix`, a folder, a `file://` URI, or one picture.
            options: How the store is reached.

        Raises:
            BadInput: There is nothing, or no picture.
            Unavailable: The store does not answer.
        """
        if where.lower().endswith(PICTURES) and not _is_folder(where):
            self._add_one(where, options)
            return
        store = open_place(where, options)
        if isinstance(store, LocalStore) and not store.root.is_dir():
            raise BadInput(f"{where}: there is no such folder or file")
        self.say(f"listing {store.destination}")
        listed = {info.key: info for info in store.list()}
        pictures = sorted(key for key in listed if _is_picture(listed[key]))
        if not pictures:
            raise BadInput(f"{where}: no pictures there ({', '.join(PICTURES)})")
        self._others += sum(not key.endswith(SIDECAR) and not _hidden(key) for key in listed.keys() - pictures)
        known = self._handed_over(store)
        self._jobs += [_Job(store, key, listed[key].size, key + SIDECAR in listed, known.get(key)) for key in pictures]

    def _add_one(self, where: str, options: Mapping[str, Any]) -> None:
        folder, _, name = where.rpartition("/")
        if where.startswith("s3://"):
            store = open_store(folder, **options)
        else:
            store = open_store(folder or ("." if not where.startswith("/") else "/"))
        info = store.head(name)
        if info is None:
            raise BadInput(f"{where}: there is no such file")
        has_sidecar = store.head(name + SIDECAR) is not None
        self._jobs.append(_Job(store, name, info.size, has_sidecar, self._handed_over(store).get(name)))

    def _handed_over(self, store: ObjectStore) -> dict[str, str]:
        """Ids of the images whose copies the ledger knows there, by the keys of the copies."""
        if self.ledger is None:
            return {}
        return {copy.key: copy.image_id for copy in self.ledger.handovers.at(store.destination).values()}

    def add_run(self, ledger: Ledger, run_id: str, **options: Any) -> None:
        """Add the stored images of a run: each is also compared with the hash that the ledger has of it.

        Raises:
            BadInput: None of its images is stored.
            Unavailable: Ledger or store do not answer.
        """
        stores: dict[str, ObjectStore] = {}
        rows = [row for row in ledger.catalog.rows(run_id=run_id) if row["state"] == "stored"]
        if not rows:
            raise BadInput(f"run {run_id}: none of its images is stored")
        for row in rows:
            place = row["destination"]
            if place not in stores:
                stores[place] = open_place(place, options)
            known = (row["image_id"], row["sha256"])
            self._jobs.append(_Job(stores[place], row["object_key"], row["bytes"] or 0, True, *known))

    def run(self) -> Audit:
        """Read and check every picture. One that cannot be read is broken; the others are checked."""
        self.say(f"checking {len(self._jobs):,} pictures")
        with (
            tempfile.TemporaryDirectory(prefix="imagen-audit-") as folder,
            ThreadPoolExecutor(_THREADS, thread_name_prefix="imagen-audit") as threads,
        ):
            numbered = enumerate(self._jobs)
            done = threads.map(lambda job: self._check(job[1], Path(folder) / str(job[0])), numbered)
            return Audit(self._with_verdicts(list(done)), self._others)

    def _with_verdicts(self, done: Sequence[Checked]) -> Sequence[Checked]:
        """The pictures with the verdicts that the ledger has of them now; a mark has the one of its own time."""
        if self.ledger is None:
            return done
        meant = [job.image_id or picture.image_id or "" for job, picture in zip(self._jobs, done, strict=True)]
        said = self.ledger.verdicts.latest(image_id for image_id in meant if _is_id(image_id))
        return [
            replace(picture, verdict=_in_words(said[image_id]))
            # An id that only the mark gives counts if the hash goes with it: whoever likes can write an id.
            if image_id in said and (job.image_id or said[image_id].sha256 == picture.original_sha256)
            else picture
            for job, picture, image_id in zip(self._jobs, done, meant, strict=True)
        ]

    def _check(self, job: _Job, temporary: Path) -> Checked:
        uri = job.store.uri(job.key)
        if job.size > _LARGEST:
            return Checked(uri, problems=(f"{job.size:,} bytes, more than the {_LARGEST:,} that are read",))
        try:
            data = _content(job.store.get(job.key, temporary))
            beside = job.store.read_text(job.key + SIDECAR, LARGEST_PACKET) if job.has_sidecar else None
        except (ImagenError, OSError) as error:
            return Checked(uri, problems=(f"it cannot be read: {error}",))
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        checked = check(data, uri=uri, sidecar=None if beside is None else beside.encode(), trust=self.trust)
        if job.sha256 is None or job.sha256 == checked.original_sha256:
            return checked
        problem = f"it is not the original that the ledger knows (SHA-256 {job.sha256[:16]}…)"
        return replace(checked, problems=(*checked.problems, problem))


def _is_id(text: str) -> bool:
    try:
        image_key(text)
    except BadInput:
        return False
    return True


def _in_words(review: Review) -> str | None:
    stars = f"rated {review.stars}" if review.stars else ""
    said = "" if review.verdict is VerdictValue.NONE else review.verdict.value
    return ", ".join(filter(None, (said, stars))) or None


def _content(fetched: Fetched) -> bytes:
    source = fetched.source
    return source if isinstance(source, bytes) else source.read_bytes()


def _is_folder(where: str) -> bool:
    return "://" not in where and Path(where).is_dir()


def _hidden(key: str) -> bool:
    return key.rpartition("/")[2].startswith(".")


def _is_picture(info: ObjectInfo) -> bool:
    return info.key.lower().endswith(PICTURES) and not _hidden(info.key)


def audit(
    where: Iterable[str],
    *,
    runs: Iterable[str] = (),
    ledger: Ledger | None = None,
    trust: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Audit:
    """Check all pictures of some places and runs.

    Args:
        where: Prefixes of buckets, folders, or single pictures.
        runs: Ids of runs of the ledger, whose stored images are checked.
        ledger: Open. Verdicts of pictures that it knows come from it.
        trust: PEM text of the roots under which C2PA signatures are trusted.
        say: Told what is being done.
        options: How stores are reached: the fields of `S3Options`.

    Raises:
        BadInput: A place is not there, or has no pictures.
        Unavailable: A store does not answer.
    """
    auditor = _Auditor(trust, say, ledger)
    for place in where:
        auditor.add(place, **options)
    for run_id in runs:
        if ledger is None:
            raise BadInput("the images of a run are checked with its ledger")
        auditor.add_run(ledger, run_id, **options)
    return auditor.run()
