"""What the page asks the ledger, in the words of the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..errors import BadInput
from ..ledger import ImageState, Ledger, RegenerationKind, Verdict, VerdictValue
from .filters import choices, read_filter
from .pictures import StoredPicture
from .regenerate import Regeneration, ask

COLUMNS = (
    "image_id",
    "item_id",
    "sha256",
    "width",
    "height",
    "prompt",
    "source_prompt",
    "revised_prompt",
    "rewritten_by",
    "model",
    "parameters",
    "seed",
    "cost_usd",
    "edition",
    "tags",
    "run_id",
    "source_file",
    "source_line",
    "source_row",
    "requested_at",
    "uri",
    "verdict",
    "stars",
    "reviewer",
    "review_reason",
    "review_note",
    "flags",
    "flag_details",
    "duplicate_group",
    "revision",
    "parent_image_id",
    "inputs",
)
"""What the page shows of a picture."""

_JSON = ("parameters", "tags", "source_row", "flags", "flag_details", "inputs")
PLACE = ("sha256", "state", "uri", "content_type")
"""What says where a picture is."""

_HASH = ("image_id", "sha256")
_WORDS = {
    RegenerationKind.SEED: "another seed",
    RegenerationKind.PROMPT: "an edited prompt",
    RegenerationKind.PARAMETERS: "other parameters",
}
_SAID = ("image_id", "verdict", "stars", "reviewer", "review_reason", "review_note")
_NEWS = 500
_INDEX_SIZE = 5000
_BEFORE = 48
_AFTER = 100


class LedgerDesk:
    """Answers for a ledger.

    Args:
        ledger: Open.
        reviewer: Who says what is said; None for a page that is only read.
    """

    def __init__(self, ledger: Ledger, reviewer: str | None) -> None:
        self._ledger = ledger
        self._reviewer = reviewer

    def start(self, filters: Mapping[str, str]) -> dict[str, Any]:
        """Who reviews what, and the rows around the first picture without a verdict."""
        wanted, order = read_filter(self._ledger, filters)
        last, _ = self._ledger.verdicts.since(None, limit=0)  # first: what is said meanwhile is news
        found = self._ledger.review.overview(wanted, order=order)
        at = found.first_unreviewed or 0
        offset = max(0, at - _BEFORE)
        rows = self._ledger.review.page(wanted, columns=COLUMNS, skip=offset, order=order, limit=_BEFORE + _AFTER)
        return {
            "ledger": self._ledger.id,
            "reviewer": self._reviewer,
            "read_only": self._reviewer is None,
            "title": f"{found.images:,} {'picture' if found.images == 1 else 'pictures'}",
            "total": found.images,
            "at": at,
            "offset": offset,
            "rows": self._shown(rows),
            "last": last,
            "counts": {value.value: found.verdicts[value] for value in VerdictValue},
        }

    def index(self, filters: Mapping[str, str], after: str | None) -> dict[str, Any]:
        """Ids of pictures in their order, with the first letter of each verdict and the number of stars."""
        wanted, order = read_filter(self._ledger, filters)
        columns = ("image_id", "verdict", "stars")
        rows = self._ledger.review.page(wanted, columns=columns, after=after, order=order, limit=_INDEX_SIZE)
        return indexed(rows) | {"next": rows[-1]["image_id"] if len(rows) == _INDEX_SIZE else None}

    def rows(self, image_ids: list[str]) -> list[dict[str, Any]]:
        """All that is known of pictures."""
        return self._shown(self._ledger.review.rows(image_ids, columns=COLUMNS))

    def news(self, after: int) -> dict[str, Any]:
        """What has been said of pictures since, by whomever; `last` is what to ask with later on."""
        last, ids = self._ledger.verdicts.since(after, limit=_NEWS)
        return {"last": last, "rows": self._ledger.review.rows(ids, columns=_SAID)}

    def _shown(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Rows with what was asked for in place of each picture, and what has come of it."""
        found = [shown(row) for row in rows]
        revisions = self._ledger.revisions.of_images(row["image_id"] for row in found)
        for row in found:
            mine = revisions.get(row["image_id"], ())
            if waiting := [_WORDS[one.kind] for one in mine if one.open]:
                row["asked"] = ", ".join(waiting)
            if made := [image_id for one in mine for image_id in one.images]:
                row["replaced_by"] = made
        return found

    def choices(self) -> dict[str, Any]:
        """What can be filtered by."""
        return choices(self._ledger)

    def record(self, verdicts: list[Any]) -> dict[str, Any]:
        """Record verdicts.

        Returns:
            `recorded`: the ids of those that are on the ledger now; `refused`: why the others never will be, by id.
        """
        reviewer = self._writing()
        refused: dict[str, str] = {}
        given: list[Verdict] = []
        for one in verdicts:
            try:
                given.append(_verdict(one, reviewer))
            except BadInput as error:
                refused[str(one.get("id")) if isinstance(one, dict) else ""] = str(error)
        done = self._ledger.verdicts.record(given)
        present = {row["image_id"]: row["sha256"] for row in self._ledger.review.rows(done.changed, columns=_HASH)}
        for verdict in given:
            if verdict.image_id in done.unknown:
                refused[verdict.id] = f"{verdict.image_id} is not in the catalog, or was erased"
            elif verdict.image_id in present and verdict.sha256 not in (None, present[verdict.image_id]):
                refused[verdict.id] = f"{verdict.image_id} is not the picture any more that was looked at"
        return {"recorded": [verdict.id for verdict in given if verdict.id not in refused], "refused": refused}

    def _writing(self) -> str:
        if self._reviewer is None:
            raise BadInput("this page is read-only: start it without --read-only")
        return self._reviewer

    def request(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for a picture in place of another: with another seed, or with the prompt that is given.

        Returns:
            `asked`: what was asked for; `message`: that and what happens next.
        """
        reviewer = self._writing()
        texts = {name: asked.get(name) for name in ("id", "image_id", "sha256", "prompt")}
        if not all(value is None or isinstance(value, str) for value in texts.values()):
            raise BadInput("a request has texts: id, image_id, sha256, prompt")
        image_id, prompt = texts["image_id"] or "", texts["prompt"]
        (present, *_) = self._ledger.review.rows([image_id], columns=("sha256",)) or [{"sha256": None}]
        if present["sha256"] != texts["sha256"]:
            raise BadInput("that is not the picture any more that was looked at: load the page again")
        kind = RegenerationKind.SEED if prompt is None else RegenerationKind.PROMPT
        wanted = Regeneration(image_id, reviewer, kind, prompt, **({"id": texts["id"]} if texts["id"] else {}))
        (revision,) = ask(self._ledger, [wanted])
        what = _WORDS[kind]
        if revision.images:
            return {"asked": what, "message": f"This was made before: {revision.images[0]}", "made": revision.images}
        return {"asked": what, "message": f"Asked for {what}; prefect-imagen regenerate buys it"}

    def picture(self, image_id: str) -> StoredPicture | None:
        """Where a picture is; None if it is not known or not stored."""
        found = self._ledger.review.rows([image_id], columns=("image_id", *PLACE))
        if not found or found[0]["state"] != ImageState.STORED:
            return None
        return stored_picture(found[0])


def stored_picture(row: Mapping[str, Any]) -> StoredPicture:
    """A row of the catalog, of a stored image, as the place of its picture."""
    names = ("image_id", "sha256", "uri", "content_type")
    return StoredPicture(*(str(row[name]) for name in names))


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the catalog as the page has it: without what is empty, JSON unfolded."""
    found = {name: value for name, value in row.items() if value not in (None, "")}
    for name in _JSON:
        if isinstance(found.get(name), str):
            found[name] = json.loads(found[name])
    return found | {"verdict": row["verdict"], "stars": row["stars"]}


def indexed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pictures as the page keeps all of them: an id, a letter and a digit for each."""
    return {
        "ids": [row["image_id"] for row in rows],
        "verdicts": "".join(row["verdict"][0] for row in rows),
        "stars": "".join(str(row["stars"]) for row in rows),
    }


def _verdict(given: Any, reviewer: str) -> Verdict:
    if not isinstance(given, dict):
        raise BadInput("a verdict is a JSON object")
    texts = {name: given.get(name) for name in ("id", "image_id", "sha256", "verdict", "reason", "note", "at")}
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise BadInput(f"{name} of a verdict is a text")
    stars = given.get("stars")
    if stars is not None and not isinstance(stars, int):
        raise BadInput("stars of a verdict are a number")
    try:
        verdict = VerdictValue(texts["verdict"]) if texts["verdict"] is not None else None
        at = datetime.fromisoformat(texts["at"]) if texts["at"] is not None else None
    except ValueError as error:
        raise BadInput(f"a verdict cannot be read: {error}") from None
    return Verdict(
        texts["image_id"] or "",
        reviewer,
        verdict,
        stars,
        texts["reason"],
        texts["note"],
        texts["sha256"],
        None if at is None else at if at.tzinfo else at.replace(tzinfo=UTC),
        texts["id"] or "",
    )
