"""What is known of one model: its contracts, its price, its fate. Plain data; `registry` finds it, `data` reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..money import usd_to_credits

Side = Annotated[int, Field(gt=0, le=16_384)]
Size = str | tuple[Side, Side]
"""A size as a model is asked for it: a preset, or width and height in pixels."""


class Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldSpec(Data):
    """One request field of a contract.

    Attributes:
        kind: `choice` (one of `choices`), `integer`, `number`, `boolean`, `text`, `url` (http(s) or a data URI), `size`
            (a preset of `choices`, or pixels), `list` (of `items`), or `object` (of `fields`).
        choices: Allowed values of a `choice`, presets of a `size`.
        minimum: Smallest number; of a `size`, smallest side in pixels; of a `text` or `list`, shortest length.
        maximum: Largest number; of a `size`, largest side in pixels; of a `text` or `list`, greatest length.
        multiple_of: Each side of a `size` must be a multiple of it, in pixels.
        default: What the provider assumes when the field is absent. Frozen once released: it decides identity.
        identity: Whether the field shapes the image, and so is part of what an item is.
        means: The word of the common vocabulary that it stands for, where that is not its own name (`n`: `num_images`).
    """

    kind: Literal["choice", "integer", "number", "boolean", "text", "url", "size", "list", "object"]
    choices: tuple[str, ...] = ()
    minimum: int | float | None = None
    maximum: int | float | None = None
    multiple_of: int | None = None
    default: Any = None
    required: bool = False
    identity: bool = True
    means: str | None = None
    items: FieldSpec | None = None
    fields: Mapping[str, FieldSpec] = {}
    description: str

    @model_validator(mode="after")
    def _holds_together(self) -> FieldSpec:
        if (self.kind == "choice") and not self.choices:
            raise ValueError("a choice needs choices")
        if (self.kind == "list") != (self.items is not None):
            raise ValueError("a list, and only a list, needs items")
        if (self.kind == "object") != bool(self.fields):
            raise ValueError("an object, and only an object, needs fields")
        return self


ReplyForm = Literal[
    "data",
    "named_data",
    "url_data",
    "dated_data",
    "sized_data",
    "null_data",
    "openai",
    "revised",
    "reviewed",
    "described",
    "described_images",
    "files",
    "webp_files",
    "timed_images",
    "both",
]
"""The forms of a reply that were seen; `prefect_imagen.sandbox.reply_formats` describes each."""


class InputLimits(Data):
    """What a model takes of each picture that goes into a request.

    Attributes:
        source: Where it is documented. Without one all of it is assumed: what most models take.
        formats: Media types.
        bytes: Of the file.
        side: Longest side in pixels.
        pixels: In all; None where only the side counts.
        least_side: Shortest side in pixels.
        ratio: How many times as long one side may be as the other.
        by: How it is sent: `data` in the body or at an address; `address` for a model that takes no
            data and fetches pictures; `form` for one that takes files of a form alone.
        mask: `transparent` where a mask marks what is to change by being clear there; `any` where it does so by colour.
    """

    source: str = ""
    formats: tuple[str, ...] = ("image/png", "image/jpeg", "image/webp")
    bytes: int = Field(default=10 * 2**20, gt=0)
    side: int = Field(default=4096, gt=0)
    pixels: int | None = Field(default=None, gt=0)
    least_side: int = Field(default=1, gt=0)
    ratio: float = Field(default=16, ge=1)
    by: Literal["data", "address", "form"] = "data"
    mask: Literal["any", "transparent"] = "any"

    def longest_side(self, width: int, height: int) -> int:
        """The longest side that a picture of this shape may have."""
        if self.pixels is None or width * height <= self.pixels:
            return self.side
        return min(self.side, int(max(width, height) * (self.pixels / (width * height)) ** 0.5))


class Contract(Data):
    """The request schema of a model in one era.

    Attributes:
        since: Day the provider's documentation showed it first, ISO 8601.
        wire_model: Value of the body's `model`, where it is not the model's id.
        prompt_limit: Longest prompt in UTF-16 code units, or None where none is stated.
        aspect_ratios: For models without an `aspect_ratio` field: aspect ratio to size, at the default resolution.
        resolutions: For models whose size says the resolution, too: resolution to aspect ratio to size. The size of a
            resolution alone is under its own name.
        takes_prompt: Whether the prompt is sent; a model that only improves a picture takes none.
        inputs: What it takes of each picture that goes in.
    """

    since: str
    source: str
    wire_model: str | None = None
    prompt_limit: int | None = None
    aspect_ratios: Mapping[str, Size] | None = None
    resolutions: Mapping[str, Mapping[str, Size]] = {}
    fields: Mapping[str, FieldSpec]
    reply: ReplyForm = "data"
    takes_prompt: bool = True
    inputs: InputLimits = InputLimits()

    @property
    def sizing(self) -> str | None:
        """The field that an aspect ratio is translated to, where there is no field `aspect_ratio`."""
        if "aspect_ratio" in self.fields:
            return None
        return next((name for name in ("image_size", "size") if name in self.fields), None)

    def field_for(self, word: str) -> str | None:
        """The field that stands for a word of the common vocabulary; None if there is none."""
        if word in self.fields:
            return word
        return next((name for name, spec in self.fields.items() if spec.means == word), None)

    @model_validator(mode="after")
    def _sizes_have_a_field(self) -> Contract:
        if (self.aspect_ratios or self.resolutions) and self.sizing is None:
            raise ValueError("aspect_ratios need a field image_size or size, and no field aspect_ratio")
        return self


class TokenPrice(Data):
    """USD a million tokens, of what is sent and of what comes back."""

    input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)

    def credits(self, sent: int, returned: int) -> int:
        """What a number of tokens cost, in credits."""
        return usd_to_credits((self.input * sent + self.output * returned) / 1_000_000)


class Price(Data):
    """USD an image: the expected price and the highest that is known, which is what gets reserved.

    Attributes:
        usd: What an image of ordinary size and quality costs.
        usd_high: What the dearest one may cost: the highest price seen or computed for any of its options.
        per: What the provider counts. By tokens, the real price of an image is known from its reply only.
        tokens: What tokens cost, for a provider whose replies count them and name no cost.
    """

    usd: Decimal = Field(ge=0)
    usd_high: Decimal = Field(ge=0)
    per: Literal["image", "megapixel", "token"] = "image"
    as_of: str
    source: str
    tokens: TokenPrice | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Price:
        if self.usd > self.usd_high:
            raise ValueError("usd_high must not be below usd")
        return self

    @property
    def credits(self) -> int:
        """Expected price of one image, in credits."""
        return usd_to_credits(self.usd)

    @property
    def credits_high(self) -> int:
        """Highest known price of one image, in credits."""
        return usd_to_credits(self.usd_high)

    def of_size(self, width: int, height: int) -> int:
        """Price of one image in credits by its size, in whole megapixels, where that is what the provider counts."""
        if self.per != "megapixel":
            return self.credits
        return usd_to_credits(self.usd * max(1, math.ceil(width * height / _MEGAPIXEL)))


_MEGAPIXEL = 2**20


class Lifecycle(Data):
    """Whether the provider still offers the model, and what to use instead."""

    status: Literal["listed", "deprecated", "superseded", "withdrawn"]
    withdrawn_at: str | None = None
    upstream_shutdown: str | None = None
    shutdown_at: str | None = None
    successor: str | None = None
    note: str | None = None
    source: str


class Alias(Data):
    """Another name of a model; `contract` says which contract the name asks for (None: the default one)."""

    name: str
    contract: str | None = None


class ModelSpec(Data):
    """All that is known of one model.

    Attributes:
        id: Canonical id, the one that enters an item's identity. It begins with the provider and a colon, except for
            the AI/ML API's models.
        provider: Who sells it; see `core.providers.providers`.
        price: USD an image; None where no price is public, so that only the live catalogue can tell.
        pixels: Width and height in pixels by aspect ratio or size preset, where they are documented.
    """

    id: str = Field(pattern=r"^[^\s@]+$")
    title: str
    provider: str = "aimlapi"
    family: str = ""
    aliases: tuple[Alias, ...] = ()
    default_contract: str
    contracts: Mapping[str, Contract]
    price: Price | None
    lifecycle: Lifecycle
    pixels: Mapping[str, tuple[Side, Side]] = {}

    @model_validator(mode="after")
    def _contracts_exist(self) -> ModelSpec:
        named = [self.default_contract, *(alias.contract for alias in self.aliases if alias.contract)]
        for name in named:
            if name not in self.contracts:
                raise ValueError(f"model {self.id}: there is no contract {name!r}")
        return self

    @model_validator(mode="after")
    def _names_its_provider(self) -> ModelSpec:
        if self.provider != "aimlapi" and not self.id.startswith(f"{self.provider}:"):
            raise ValueError(f"model {self.id}: the id of a model of {self.provider} begins with '{self.provider}:'")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Every name of it, its id first."""
        return (self.id, *(alias.name for alias in self.aliases))


class ResolvedModel(NamedTuple):
    """A model together with the contract it is asked through."""

    spec: ModelSpec
    contract_name: str

    @property
    def contract(self) -> Contract:
        return self.spec.contracts[self.contract_name]

    @property
    def wire_model(self) -> str:
        return self.contract.wire_model or self.spec.id.removeprefix(f"{self.spec.provider}:")

    @property
    def name(self) -> str:
        """A name that resolves to this model and contract again."""
        if self.contract_name == self.spec.default_contract:
            return self.spec.id
        return f"{self.spec.id}@{self.contract_name}"

    def priced(self, price: Price) -> ResolvedModel:
        """The same at another price."""
        return ResolvedModel(self.spec.model_copy(update={"price": price}), self.contract_name)
