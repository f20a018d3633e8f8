"""Everything that a run can be asked for: every option once, with its type, bounds, default and help.

The parameters of the flows, the flags of the command line, `prefect.yaml` and the tables of the docs are made from
these models. Prefect's form shows each group as a section of its own. This module imports pydantic and the errors,
nothing else, so that `--help` is quick.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from .errors import BadInput

SHIPPED_MODEL = "google/nano-banana-2"
DEFAULT_MODEL = os.environ.get("PREFECT_IMAGEN_MODEL") or SHIPPED_MODEL
"""The model that is meant where none is named: what a user or an operator wants it to be, or ours."""
DEFAULT_KEY_TEMPLATE = "{model}/{item_id}/{call}-{index}.{ext}"
FOLDER_KEY_TEMPLATE = "{date}/{slug}.{ext}"

_SCHEDULED_DATE = "{scheduled_date}"
_DECIDED_BY_A_PLAN = frozenset({"model", "template", "aspect_ratio", "edition", "select", "image", "rewrite"})
_FREE_WITH_A_PLAN = frozenset({("image", "fallback"), ("image", "lenient"), ("image", "price")})


class UnknownPolicy(enum.StrEnum):
    """What to do with an item whose last call may have been billed.

    HOLD: nothing, it waits for a decision. RETRY: buy it again now, which may pay twice. FAIL: count it as failed, so
    that the next run buys it.
    """

    HOLD = "hold"
    RETRY = "retry"
    FAIL = "fail"


class RewriteFallback(enum.StrEnum):
    """What to do with an image whose prompt could not be rewritten.

    FAIL: it fails with the reason, nothing is bought. KEEP: it is made from the prompt as it was given.
    """

    KEEP = "keep"
    FAIL = "fail"


class MarkMode(enum.StrEnum):
    """How a picture is marked.

    AUTO: with XMP in the copy; with a sidecar where the picture is signed, has XMP of its own, or is no PNG, JPEG or
    WebP. XMP: in the copy, or not at all. SIDECAR: in a file beside it. C2PA: signed, with the manifest that it had as
    the parent. NONE: not.
    """

    AUTO = "auto"
    XMP = "xmp"
    SIDECAR = "sidecar"
    C2PA = "c2pa"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Flag:
    """How an option is written on a command line, as far as its name and type do not say it.

    Attributes:
        name: The flag; None makes `--field-name` of the field's name.
        metavar: Placeholder for the value in the help.
        off: The flag takes no value and switches a default of True off.
        help: What such a flag does; of any other, the description of the field says it.
        shown: Text for the default in the help, where the value itself reads badly.
        file: `@FILE` is taken for the text in that file.
    """

    name: str | None = None
    metavar: str | None = None
    off: bool = False
    help: str | None = None
    shown: str | None = None
    file: bool = False


NO_FLAG = Flag(name="")
"""Marks an option that the command line does not have."""


class Options(BaseModel):
    """A group of options. Immutable; an unknown name is an error, and so is a value out of bounds."""

    section: ClassVar[str] = "Options"
    """Heading of the group in the help of the command line and in the docs."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Read what is asked for.

        Raises:
            BadInput: A value that is not allowed or cannot be read.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise BadInput(explain(error, cls)) from None


def _names(value: Any) -> Any:
    """Names given one by one, or several in one text with commas between them."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        return () if texts is None else texts
    names = tuple(name.strip() if isinstance(name, str) else name for text in texts for name in _parts(text))
    if not all(names):
        raise ValueError("an empty name; write MODEL or MODEL,MODEL")
    return names


def _parts(text: Any) -> list[Any]:
    return text.split(",") if isinstance(text, str) else [text]


def _empty_for_none(kind: type) -> BeforeValidator:
    """Take None, which forms and event templates send, for an empty value."""
    return BeforeValidator(lambda value: kind() if value is None else value)


AspectRatio = Annotated[
    str | None,
    Field(description="Such as 16:9. None: the model's default.", pattern=r"^\d+:\d+$"),
    Flag(metavar="W:H"),
]
Edition = Annotated[
    str,
    Field(description="Another edition buys the same prompts anew; {scheduled_date} is filled in."),
    Flag(metavar="TEXT"),
]
EditionTimezone = Annotated[
    str, Field(description="Time zone in which the day of {scheduled_date} begins."), Flag(metavar="ZONE")
]
BudgetUsd = Annotated[
    float | None,
    Field(gt=0, allow_inf_nan=False, description="The most that this run may cost, in USD; nothing beyond it is sent."),
    Flag(metavar="USD"),
]
Tags = Annotated[
    dict[str, str],
    _empty_for_none(dict),
    Field(description="Labels kept with the run and with every image."),
    Flag("--tag", metavar="NAME=VALUE"),
]
ModelName = Annotated[
    str,
    Field(description="Image model; an id, an alias or MODEL@CONTRACT. `prefect-imagen models` lists them."),
    Flag(metavar="MODEL"),
]
Template = Annotated[
    str | None,
    Field(description="Jinja2 template over the columns of a row; for example '{{ product }} on {marble|oak}'."),
    Flag(metavar="TEXT|@FILE", file=True),
]
Concurrency = Annotated[int, Field(ge=1, le=512, description="Paid calls in flight."), Flag(metavar="N")]

KeyTemplate = Annotated[
    str | None,
    Field(
        description=f"Names of objects, such as {{product}}-{{index}}.{{ext}}; by default {FOLDER_KEY_TEMPLATE} in a "
        f"folder, else {DEFAULT_KEY_TEMPLATE}."
    ),
    Flag(metavar="TEXT"),
]
Patience = Annotated[
    float, Field(ge=0, le=86_400, description="Seconds to wait for a store that is away."), Flag(metavar="SECONDS")
]


class PromptOptions(Options):
    """Which prompts: how the source is read, what is made of its rows, and how many are taken."""

    section: ClassVar[str] = "Which prompts"

    column: Annotated[
        str | None,
        Field(description="Column with the prompt; found by itself if obvious."),
        Flag("--prompt-column", metavar="COLUMN"),
    ] = None
    format: Annotated[
        Literal["txt", "csv", "tsv", "tsv-quoted", "jsonl", "parquet"] | None,
        Field(description="How to read the source; by default what its name ends in."),
    ] = None
    variants: Annotated[
        bool,
        Field(description="Make two prompts of {a|b}; otherwise braces are taken literally."),
        Flag("--no-variants", off=True, help="Take {a|b} literally; otherwise it makes two prompts."),
    ] = True
    wildcards: Annotated[
        str | None,
        Field(description="Folder or s3:// prefix with the values of __name__."),
        Flag(metavar="FOLDER"),
    ] = None
    exclude: Annotated[
        tuple[str, ...],
        _empty_for_none(tuple),
        Field(description="Combinations of variants to leave out: 'snow & beach'."),
        Flag(metavar="RULE"),
    ] = ()
    per_row: Annotated[
        int | None, Field(ge=1, description="N prompts of each row, drawn at random."), Flag(metavar="N")
    ] = None
    limit: Annotated[int | None, Field(ge=1, description="The first N prompts only."), Flag(metavar="N")] = None
    sample: Annotated[int | None, Field(ge=1, description="N prompts drawn at random."), Flag(metavar="N")] = None
    sample_seed: Annotated[int, Field(description="Another seed draws another sample."), Flag(metavar="SEED")] = 0
    max_prompts: Annotated[
        int | None, Field(ge=1, description="Refuse to run more prompts than this."), Flag(metavar="N")
    ] = None
    skip_invalid: Annotated[bool, Field(description="Leave out prompts that do not fit the model.")] = False


class ImageOptions(Options):
    """Which images: fields of the model, combinations of them, and models that may stand in."""

    section: ClassVar[str] = "Which images"

    num_images: Annotated[
        int | None, Field(ge=1, le=10, description="Images per request; every one is paid."), Flag(metavar="N")
    ] = None
    seed: Annotated[
        int | None,
        Field(ge=0, description="The same seed for every prompt. None: each prompt has its own."),
        Flag(metavar="SEED"),
    ] = None
    parameters: Annotated[
        dict[str, Any],
        _empty_for_none(dict),
        Field(description="Further fields of the model, such as enhance_prompt=false."),
        Flag("--set", metavar="NAME=VALUE"),
    ] = Field(default_factory=dict)
    matrix: Annotated[
        dict[str, list[Any]],
        _empty_for_none(dict),
        Field(description="Buy each prompt in every combination of these values: aspect_ratio=1:1,16:9."),
        Flag(metavar="NAME=V1,V2"),
    ] = Field(default_factory=dict)
    repeat: Annotated[
        int,
        Field(ge=1, le=1000, description="Images of each prompt; each is a purchase of its own."),
        Flag(metavar="N"),
    ] = 1
    fallback: Annotated[
        tuple[str, ...],
        BeforeValidator(_names),
        Field(description="Models to use once the model is withdrawn, in this order; parameters are translated."),
        Flag(metavar="MODEL[,MODEL]"),
    ] = ()
    price: Annotated[
        float | None,
        Field(
            ge=0,
            le=1000,
            description="What an image costs at most in USD, where it is not known, or is otherwise; 0 for your own "
            "server.",
        ),
        Flag(metavar="USD"),
    ] = None
    lenient: Annotated[
        bool, Field(description="Leave out parameters that the model cannot do; the report says which.")
    ] = False
    image_columns: Annotated[
        tuple[str, ...],
        _empty_for_none(tuple),
        Field(description="Column with pictures to start from: path, s3://…, https://…, data:…, catalog:IMAGE_ID."),
        Flag("--image-column", metavar="COLUMN"),
    ] = ()
    mask_column: Annotated[
        str | None,
        Field(description="Column with the mask: which part of the picture is to change."),
        Flag(metavar="COLUMN"),
    ] = None
    images: Annotated[
        tuple[str, ...],
        _empty_for_none(tuple),
        Field(description="Picture to start from, for all prompts; after those of the row."),
        Flag("--image", metavar="WHERE"),
    ] = ()
    strict_images: Annotated[
        bool, Field(description="Refuse pictures that are too large for the model; otherwise a smaller copy is sent.")
    ] = False


class Rewrite(Options):
    """A language model rewrites each prompt first."""

    section: ClassVar[str] = "Rewriting prompts"

    model: Annotated[
        str,
        Field(description="Language model that rewrites each prompt first: openai/gpt-4o-mini."),
        Flag("--rewrite", metavar="MODEL"),
    ]
    variations: Annotated[
        int,
        Field(ge=1, le=100, description="Texts of each prompt, each with its own images."),
        Flag("--rewrites", metavar="N"),
    ] = 1
    brief: Annotated[
        str,
        _empty_for_none(str),
        Field(description="What the new texts should be like: 'calm, hand-drawn'."),
        Flag("--brief", metavar="TEXT|@FILE", file=True),
    ] = ""
    price: Annotated[
        str | None,
        Field(description="IN,OUT in USD per million tokens, for a language model whose price is not known."),
        Flag("--rewrite-price", metavar="IN,OUT"),
    ] = None


class Limits(Options):
    """How fast: calls in flight, calls per minute, and the size of a chunk."""

    section: ClassVar[str] = "How fast"

    concurrency: Concurrency = 8
    requests_per_minute: Annotated[
        float | None,
        Field(
            gt=0,
            le=1_000_000,
            description="Highest rate of paid calls, over all runs with this key and model. None: learnt from 429s.",
        ),
        Flag(metavar="N"),
    ] = None
    shared_concurrency: Annotated[
        int | None,
        Field(ge=1, description="Paid calls in flight, over all runs with this key and model."),
        Flag(metavar="N"),
    ] = None
    chunk_size: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=1000)],
        Field(description="Items of one chunk, which is one task run in Prefect."),
        Flag(metavar="N|auto"),
    ] = "auto"


class Policy(Options):
    """What to do when something is uncertain, refused or left undone."""

    section: ClassVar[str] = "Policy"

    unknown: Annotated[
        UnknownPolicy,
        Field(
            description="Items that may have been billed: hold them for you to decide, retry them now (may pay twice), "
            "or fail: the next run buys them again."
        ),
    ] = UnknownPolicy.HOLD
    retry_refused: Annotated[bool, Field(description="Ask again for what the provider refused before.")] = False
    trust_unbilled_5xx: Annotated[
        bool,
        Field(description="Take a 5xx as unbilled, as the API's docs say, and try again; else such a call is unknown."),
    ] = False
    rewrite_fallback: Annotated[
        RewriteFallback,
        Field(description="An image whose prompt could not be rewritten: fail, or keep the prompt as it is."),
    ] = RewriteFallback.FAIL
    on_incomplete: Annotated[
        Literal["fail", "warn"],
        Field(description="Whether Prefect shows a run that left something undone as Failed or as Completed."),
    ] = "fail"
    ask_catalogue: Annotated[
        bool,
        Field(description="Ask the API first for prices and withdrawn models."),
        Flag("--offline", off=True, help="Do not ask the API first for prices and withdrawn models."),
    ] = True
    tries: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            description="Sends of one item that cost nothing and came to nothing (a refused connection), and 429s in a "
            "row, before the run ends.",
        ),
        NO_FLAG,
    ] = 8
    longest_wait: Annotated[
        float, Field(ge=0, description="Longest Retry-After in seconds that is waited for."), NO_FLAG
    ] = 300.0
    wait_for_others: Annotated[
        float, Field(ge=0, description="Seconds to wait at the end for items that another run is working on."), NO_FLAG
    ] = 60.0


class Delivery(Options):
    """How images get to the store, and how long a service that is away is waited for."""

    section: ClassVar[str] = "Delivery"

    key_template: KeyTemplate = None
    adopt_ledger: Annotated[bool, Field(description="Take over a destination of another ledger.")] = False
    patience: Patience = 120.0
    mark: Annotated[
        Literal["none", "sidecar"],
        Field(description="sidecar: a file NAME.EXT.xmp beside each image says in XMP that an AI made it, and which."),
    ] = "none"
    mark_prompt: Annotated[bool, Field(description="Marks have the prompt, too.")] = False
    keep_inputs: Annotated[
        bool,
        Field(description="Keep the pictures that go into requests under inputs/ of the destination."),
        Flag("--no-keep-inputs", off=True, help="Keep the pictures that go into requests on this machine only."),
    ] = True
    sign_inputs_above: Annotated[
        float | None,
        Field(
            ge=0,
            le=1000,
            description="Pictures of more than so many megabytes are not sent with the request, but fetched at a "
            "signed address of the destination in S3, which lives for an hour; 0: all of them.",
        ),
        Flag(metavar="MB"),
    ] = None
    credit: Annotated[
        str | None, Field(max_length=1000, description="Credit line of the marks."), Flag(metavar="TEXT")
    ] = None
    drain_seconds: Annotated[
        float,
        Field(ge=0, le=3600, description="When stopped, seconds that calls in flight have to be answered."),
        Flag(metavar="SECONDS"),
    ] = 25.0
    spool_max_bytes: Annotated[
        int,
        Field(ge=1, description="Bytes that are paid and not stored yet, above which nothing more is bought."),
        Flag(metavar="BYTES", shown="10 GiB"),
    ] = 10 * 2**30
    spool: Annotated[
        str | None,
        Field(description="Folder for what is between reply and object. None: the one of this user."),
        NO_FLAG,
    ] = None


class _Choice(Options):
    """What is meant in a catalog: what matches every criterion that is given."""

    run: Annotated[
        str | None,
        Field(description="Of this run, owned ones too: its id, or the beginning of it."),
        Flag(metavar="RUN"),
    ] = None
    edition: Annotated[str | None, Field(description="Of this edition."), Flag(metavar="TEXT")] = None
    tags: Annotated[
        dict[str, str],
        _empty_for_none(dict),
        Field(description="Of runs with this tag."),
        Flag("--tag", metavar="NAME=VALUE"),
    ] = Field(default_factory=dict)


class ItemChoice(_Choice):
    """Which items of a catalog are meant: those that match every criterion that is given."""

    section: ClassVar[str] = "Which items"

    older_than: Annotated[
        str | None, Field(description="Last bought before: 90d, 12h, 4w, 2026-01-31."), Flag(metavar="AGE|DAY")
    ] = None


class ImageChoice(_Choice):
    """Which images of a catalog are meant: those that match every criterion that is given."""

    section: ClassVar[str] = "Which images"

    model: Annotated[str | None, Field(description="Made by this model."), Flag(metavar="MODEL")] = None
    verdict: Annotated[
        Literal["approved", "rejected", "none", "any"] | None,
        Field(description="With this verdict; none stands for unreviewed images."),
    ] = None
    stars: Annotated[int | None, Field(ge=0, le=5, description="With at least so many stars."), Flag(metavar="N")] = (
        None
    )
    flags: Annotated[
        tuple[str, ...],
        BeforeValidator(_names),
        Field(description="With any of these flags of `check`; or any, or none."),
        Flag("--flag", metavar="NAME"),
    ] = ()
    duplicates: Annotated[
        str | None,
        Field(description="Of this group of images that look alike; or any, or none."),
        Flag(metavar="GROUP|any|none"),
    ] = None
    text: Annotated[str | None, Field(description="With this text in the prompt."), Flag(metavar="TEXT")] = None
    since: Annotated[
        datetime | None, Field(description="Bought at or after this day or time, UTC."), Flag(metavar="DATE")
    ] = None
    until: Annotated[datetime | None, Field(description="Bought before it, UTC."), Flag(metavar="DATE")] = None
    cost_from: Annotated[
        float | None, Field(ge=0, description="Costs at least so much, in USD."), Flag(metavar="USD")
    ] = None
    cost_to: Annotated[float | None, Field(ge=0, description="Costs at most so much, in USD."), Flag(metavar="USD")] = (
        None
    )


class CheckOptions(Options):
    """How images are checked; see `core.review.checks`."""

    section: ClassVar[str] = "How to check"

    own: Annotated[
        tuple[str, ...],
        BeforeValidator(_names),
        Field(description="Check of your own: a function of a picture and its row in the catalog."),
        Flag("--check", metavar="MODULE:FUNCTION"),
    ] = ()
    within: Annotated[
        Literal["catalog", "run"],
        Field(description="Flag images that look like an older one of the whole catalog, or of their run."),
    ] = "catalog"
    distance: Annotated[
        int,
        Field(ge=0, le=7, description="Bits of 64 in which the hashes of images that look alike may differ."),
        Flag(metavar="BITS"),
    ] = 6
    blank_below: Annotated[
        float, Field(ge=0, le=255, description="Spread of colours below which an image is blank."), Flag(metavar="N")
    ] = 3.0
    blur_below: Annotated[
        float, Field(ge=0, description="Sharpness below which an image is blurred."), Flag(metavar="N")
    ] = 8.0
    border_from: Annotated[
        float,
        Field(gt=0, lt=0.3, description="Part of a side from which an edge of one colour is a border."),
        Flag(metavar="N"),
    ] = 0.02
    ratio_tolerance: Annotated[
        float,
        Field(ge=0, lt=1, description="How far a ratio may be from the one that was asked for."),
        Flag(metavar="N"),
    ] = 0.08
    again: Annotated[bool, Field(description="Also images that were checked like that before.")] = False


class RunRequest(Options):
    """What a run buys and how: everything but the prompts, the store, the credentials and the catalog.

    Example:
        >>> request = RunRequest(aspect_ratio="16:9", limits=Limits(concurrency=16))
        >>> request.limits.concurrency, request.policy.unknown
        (16, <UnknownPolicy.HOLD: 'hold'>)
        >>> request == RunRequest.by_flag({"aspect_ratio": "16:9", "concurrency": 16})
        True
    """

    section: ClassVar[str] = "What to buy"

    model: ModelName = DEFAULT_MODEL
    template: Template = None
    aspect_ratio: AspectRatio = None
    edition: Edition = ""
    edition_timezone: EditionTimezone = "UTC"
    budget_usd: BudgetUsd = None
    tags: Tags = Field(default_factory=dict)
    select: PromptOptions = PromptOptions.model_construct()
    image: ImageOptions = ImageOptions.model_construct()
    rewrite: Annotated[
        Rewrite | None, BeforeValidator(lambda value: {"model": value} if isinstance(value, str) else value)
    ] = None
    limits: Limits = Limits.model_construct()
    policy: Policy = Policy.model_construct()
    delivery: Delivery = Delivery.model_construct()

    @property
    def parameters(self) -> dict[str, Any]:
        """Fields of the model, those with an option of their own included."""
        own = {"aspect_ratio": self.aspect_ratio, "num_images": self.image.num_images, "seed": self.image.seed}
        fields = {**own, **self.image.parameters}
        return {name: value for name, value in fields.items() if value is not None}

    def scheduled(self, moment: datetime) -> Self:
        """The request of a run that was scheduled for a moment: its day is filled in for `{scheduled_date}`.

        Raises:
            BadInput: There is no such time zone.

        Example:
            >>> from datetime import UTC
            >>> nightly = RunRequest(edition="daily-{scheduled_date}", edition_timezone="Europe/Berlin")
            >>> nightly.scheduled(datetime(2026, 3, 1, 23, 30, tzinfo=UTC)).edition
            'daily-2026-03-02'
        """
        if _SCHEDULED_DATE not in self.edition:
            return self
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            zone = ZoneInfo(self.edition_timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise BadInput(
                f"edition_timezone: {self.edition_timezone!r} is not a time zone; use a name such as Europe/Berlin"
            ) from None
        day = moment.astimezone(zone).date().isoformat()
        return self.model_copy(update={"edition": self.edition.replace(_SCHEDULED_DATE, day)})

    def with_(self, group: str, **changes: Any) -> Self:
        """The same with other values in one group, which are not validated again."""
        return self.model_copy(update={group: getattr(self, group).model_copy(update=changes)})

    @classmethod
    def by_flag(cls, given: Mapping[str, Any]) -> Self:
        """Make a request of options by their names on the command line, with `_` for `-`; None is as left out.

        Flags that switch something off have its opposite: `{"no_variants": True}`.

        Raises:
            BadInput: There is no such option, or a value is out of bounds; an option about rewriting without a
                language model.
        """
        known = {option.name: option for option in options_of(cls)}
        if wrong := [name for name in given if name not in known]:
            raise BadInput(f"there is no option {', '.join(wrong)}")
        fields: dict[str, Any] = {}
        for name, value in given.items():
            if value is None:
                continue
            *groups, field = known[name].path
            place = fields
            for group in groups:
                place = place.setdefault(group, {})
            place[field] = not value if known[name].flag.off else value
        about = fields.get("rewrite")
        if about is not None and "model" not in about:
            name = next(one.name for one in known.values() if one.path == ("rewrite", next(iter(about))))
            raise BadInput(
                f"{name} is about rewriting prompts: name the language model that does it (rewrite, --rewrite)"
            )
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise BadInput(explain(error, cls)) from None


class ChainStep(Options):
    """One step of a chain; what the step before it has made goes into it."""

    section: ClassVar[str] = "A step of a chain"

    model: ModelName
    template: Annotated[
        str | None, Field(description="Makes its prompts. None: the prompts of the step before, as they were sent.")
    ] = None
    aspect_ratio: AspectRatio = None
    image: ImageOptions = ImageOptions.model_construct()


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a model, as a command line or a table shows it.

    Attributes:
        path: Names of the groups it is in, then its own field.
        field: Its declaration.
        flag: How it is written.
        section: Heading of its group.
    """

    path: tuple[str, ...]
    field: FieldInfo
    flag: Flag
    section: str

    @property
    def name(self) -> str:
        """Its name on the command line, with `_` for `-`."""
        return (self.flag.name or self.path[-1]).lstrip("-").replace("-", "_")

    @property
    def written(self) -> str:
        """Its flag."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def has_flag(self) -> bool:
        """Whether the command line has it."""
        return self.flag != NO_FLAG

    @property
    def decides_items(self) -> bool:
        """Whether it decides which items there are: a plan file has decided that already."""
        return self.path[0] in _DECIDED_BY_A_PLAN and self.path not in _FREE_WITH_A_PLAN

    def value(self, model: BaseModel) -> Any:
        """Its value in a model; the default where the group is left out."""
        found: Any = model
        for name in self.path:
            if found is None:
                return self.default
            found = getattr(found, name)
        return found

    @property
    def default(self) -> Any:
        """Its default; None where it has to be given."""
        return None if self.field.is_required() else self.field.get_default(call_default_factory=True)


def options_of(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Option]:
    """All options of a model and of the groups in it, in the order in which they are declared."""
    for name, field in model.model_fields.items():
        group = next((kind for kind in _kinds(field.annotation) if issubclass(kind, Options)), None)
        if group is not None:
            yield from options_of(group, (*path, name))
            continue
        flag = next((note for note in field.metadata if isinstance(note, Flag)), Flag())
        yield Option((*path, name), field, flag, getattr(model, "section", Options.section))


def _kinds(annotation: Any) -> Iterator[type]:
    """The classes that an annotation is made of: itself, or the members of a union."""
    members = getattr(annotation, "__args__", ()) if not isinstance(annotation, type) else (annotation,)
    return (member for member in members if isinstance(member, type))


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """What is wrong with the values of a model, by the flags that they were given with; without a model, by fields."""
    problems: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False, include_context=False):
        place = tuple(map(str, problem["loc"]))
        flags = options_of(model) if model is not None else ()
        option = next((one for one in flags if place[: len(one.path)] == one.path), None)
        name = option.written if option is not None else ".".join(place)
        own = problem["type"] in ("value_error", "missing")
        value = "" if own else f"{problem['input']!r} is not allowed: it "
        text = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
        reasons = problems.setdefault(f"{name}: {value}", [])
        if text not in reasons:
            reasons.append(text)
    return "; ".join(start + " or ".join(reasons) for start, reasons in problems.items())
