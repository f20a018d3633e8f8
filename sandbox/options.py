"""The options of the sandbox, for the command lines, for `serve` and for `SandboxServer`."""

from __future__ import annotations

import ipaddress
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from ..core.request import Flag

KEYS_VARIABLE = "PREFECT_IMAGEN_SANDBOX_KEYS"
"""Environment variable with the keys that are accepted, with commas between them: everybody may read a command line."""

ImageFormat = Literal["png", "jpeg", "webp"]


class SandboxOptions(BaseModel):
    """Options of one sandbox. All have defaults; the descriptions are the help of the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: Annotated[str, Field(description="Loopback address to listen on; anything else is refused.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")] = 8899
    port_file: Annotated[Path | None, Field(description="File that gets the port number once the server is ready.")] = (
        None
    )
    exit_with_stdin: Annotated[
        bool, Field(description="Stop when standard input is closed, as it is when the parent dies.")
    ] = False

    keys: Annotated[
        tuple[SecretStr, ...],
        Field(description=f"API keys that are accepted, also from {KEYS_VARIABLE}; none given: any that is not empty."),
        Flag("--key", metavar="KEY"),
    ] = ()
    anonymous: Annotated[
        bool, Field(description="Take calls without a key, too, as most servers on one's own machine do.")
    ] = False
    balance_usd: Annotated[Decimal, Field(ge=0, description="Credit at the start, in US dollars.")] = Decimal(1000)

    imagen4_contract: Annotated[
        Literal["2025-11", "2025-05"],
        Field(description="Contract that google/imagen4/preview is served with."),
    ] = "2025-11"
    success_status: Annotated[
        Literal[200, 201],
        Field(description="Status of a successful paid call; the API's docs said 201 until late 2025."),
    ] = 200
    cost_headers: Annotated[
        bool, Field(description="Send x-aimlapi-credits-used and x-aimlapi-usd-spent; older replies had neither.")
    ] = True
    base64_data_uri: Annotated[bool, Field(description="Put a data-URI prefix before base64 images.")] = False

    any_model_usd: Annotated[
        Decimal | None,
        Field(
            ge=0,
            description="Price of an image of a model that is not known, as a server on one's own machine takes any "
            "name; none: such a model is refused. Not for the AI/ML API.",
        ),
    ] = None
    idempotency: Annotated[
        Literal["ignored", "replay"],
        Field(
            description="What the header Idempotency-Key does, but for the AI/ML API: replay answers the same request "
            "once more without billing it, and another one under the same key with 422."
        ),
    ] = "ignored"

    webhook_deliveries: Annotated[
        int, Field(ge=1, le=10, description="How often the end of a job is told to its webhook; each has ten attempts.")
    ] = 1

    latency: Annotated[float, Field(ge=0, description="Seconds that every paid call takes.")] = 0.0
    jitter: Annotated[
        float, Field(ge=0, description="Greatest number of seconds added to or taken from the latency at random.")
    ] = 0.0

    requests_per_minute: Annotated[
        float | None, Field(gt=0, description="Most paid calls a minute; the rest is a 429; none: any number.")
    ] = None
    rate_window: Annotated[
        float, Field(gt=0, le=3600, description="Seconds in which the calls a minute are counted, in proportion.")
    ] = 60.0
    concurrent_calls: Annotated[
        int | None, Field(ge=1, description="Most paid calls in flight; the rest is a 429; none: any number.")
    ] = None
    rate_retry_after: Annotated[
        bool, Field(description="Say in such a 429 when to come back (Retry-After); the API documents no such header.")
    ] = False
    log_lag: Annotated[
        float, Field(ge=0, description="Seconds after which a call shows in /v2/logs and /v2/billing/transactions.")
    ] = 0.0

    pictures: Annotated[
        Literal["drawn", "fast"],
        Field(description="drawn: every image by itself; fast: a few a size, drawn once and served for all."),
    ] = "drawn"
    image_format: Annotated[ImageFormat, Field(description="File format of the images.")] = "png"
    image_bytes: Annotated[
        int | None,
        Field(ge=1, le=64 * 1024 * 1024, description="Size of every image in bytes, about; padded where smaller."),
    ] = None
    signed: Annotated[
        bool,
        Field(description="Sign every image (C2PA), as some providers do; the root is at /sandbox/root.pem."),
    ] = False
    cache_bytes: Annotated[
        int, Field(ge=0, description="Most bytes of encoded images kept in memory; the rest is drawn again.")
    ] = 64 * 1024 * 1024

    url_expiry: Annotated[
        float | None, Field(gt=0, description="Seconds after which an image URL answers 403; none: never.")
    ] = None
    exact_query: Annotated[
        bool,
        Field(
            description="Answer 403 to an image URL whose query is not byte for byte the one given out; "
            "otherwise it has to be the same after decoding."
        ),
    ] = False

    @property
    def calls_a_window(self) -> int | None:
        """Paid calls in `rate_window` seconds; None: any number."""
        if self.requests_per_minute is None:
            return None
        return max(1, round(self.requests_per_minute * self.rate_window / 60))

    @field_validator("host")
    @classmethod
    def _loopback_only(cls, value: str) -> str:
        if value == "localhost":
            return value
        try:
            loopback = ipaddress.ip_address(value).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise ValueError(
                f"{value!r} is not a loopback address; the sandbox takes any key, so it listens on 127.0.0.1 or ::1"
            )
        return value
