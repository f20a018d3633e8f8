"""Which images of a catalog are meant: every filter once. A leaf, as `core.request` is.

The flags of the command line, the page's address and its form are made from this model.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from .errors import BadInput
from .request import NO_FLAG, Flag, Options, explain

ANY_FLAG = "any"


class Order(enum.StrEnum):
    """How images are sorted: as bought, by number of flags or stars, by cost, or in groups."""

    TIME = "time"
    FLAGS = "flags"
    STARS = "stars"
    COST = "cost"
    ITEM = "item"
    PROMPT = "prompt"
    DUPLICATES = "duplicates"


def _moment(value: Any) -> Any:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return value


def _aware(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _pairs(value: Any) -> Any:
    """Tags as the page's address has them: a line each."""
    if not isinstance(value, str):
        return value
    pairs = [line.partition("=") for line in value.splitlines() if line]
    if not all(separator for _, separator, _ in pairs):
        raise ValueError("a tag is NAME=VALUE")
    return {name: text for name, _, text in pairs}


Moment = Annotated[datetime | None, BeforeValidator(_moment), AfterValidator(lambda value: value and _aware(value))]
Amount = Annotated[float | None, Field(ge=0, allow_inf_nan=False)]


class ImageFilters(Options):
    """Images that match every given filter; all stored images if none is given."""

    section: ClassVar[str] = "Which images"

    verdict: Annotated[
        Literal["approved", "rejected", "none"] | None, Field(description="With this verdict; none: not reviewed.")
    ] = None
    unreviewed: Annotated[bool, Field(description="Without a verdict.")] = False
    stars: Annotated[int | None, Field(ge=0, le=5, description="With so many stars or more."), Flag(metavar="N")] = None
    flag: Annotated[
        str | None, Field(description="With this flag of `prefect-imagen check`; any: with any."), Flag(metavar="NAME")
    ] = None
    duplicates: Annotated[bool, Field(description="In a group of images that look alike.")] = False
    duplicate_group: Annotated[str | None, Field(description="Of this group."), NO_FLAG] = None
    run: Annotated[str | None, Field(description="Asked for by this run."), NO_FLAG] = None
    edition: Annotated[str | None, Field(description="Of an edition."), Flag(metavar="TEXT")] = None
    tag: Annotated[
        dict[str, str],
        BeforeValidator(_pairs),
        Field(description="Of runs with this tag."),
        Flag(metavar="NAME=VALUE"),
    ] = Field(default_factory=dict)
    model: Annotated[str | None, Field(description="Made by this model."), Flag(metavar="MODEL")] = None
    text: Annotated[str | None, Field(description="With this in the prompt."), Flag(metavar="TEXT")] = None
    min_cost: Annotated[Amount, Field(description="That cost so many USD or more."), Flag(metavar="USD")] = None
    max_cost: Annotated[Amount, Field(description="That cost so many USD or less."), Flag(metavar="USD")] = None
    since: Annotated[Moment, Field(description="Bought on this day (UTC) or later."), Flag(metavar="DATE")] = None
    until: Annotated[Moment, Field(description="Bought before this day (UTC)."), Flag(metavar="DATE")] = None
    order: Annotated[Order, Field(description="As they were bought, by flags, stars or cost, or in groups.")] = (
        Order.TIME
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.unreviewed and self.verdict not in (None, "none"):
            raise ValueError(f"--unreviewed and --verdict {self.verdict} exclude each other")
        return self

    @property
    def query(self) -> dict[str, str]:
        """The filters as the page's address has them."""
        given = self.model_dump(mode="json", exclude_defaults=True)
        if self.tag:
            given["tag"] = "\n".join(f"{name}={value}" for name, value in self.tag.items())
        return {name: "1" if value is True else str(value) for name, value in given.items()}

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> ImageFilters:
        """Read filters.

        Raises:
            BadInput: An unknown name, or a value that is not allowed.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise BadInput(explain(error, cls)) from None
