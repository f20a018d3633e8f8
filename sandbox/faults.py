"""Faults that can be injected into the sandbox's replies and downloads.

A rule names a fault, what it applies to (`match`), and when it strikes: at random (`rate`), at every n-th match
(`every`), or at each match; after the first `after` matches, and at most `times` times. The first rule that strikes a
call wins; later rules do not count that call. Faults strike calls that would otherwise succeed: a request with a
wrong key or a wrong field gets its own error.

The random draw depends on the seed, the rule, the request and how often that request was made, not on the order of
arrival. So the same work gets the same faults, however many calls are in flight.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, model_validator

from .error_bodies import Envelope

Endpoint = Literal["images", "chat"]

OddForm = Literal[
    "accepted",
    "task",
    "error",
    "billed_error",
    "events",
    "object",
    "image",
    "output",
    "image_url",
    "nested",
    "list",
    "strings",
    "top_url",
    "relative",
    "without_scheme",
    "blanks",
    "chat",
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Match(_Strict):
    """What a rule applies to; all given conditions must hold."""

    endpoint: Annotated[Endpoint, Field(description="Paid endpoint of the call, or of the image.")] = "images"
    model: Annotated[str | None, Field(description="Exact model id of the request.")] = None
    prompt_contains: Annotated[str | None, Field(description="Text in the prompt, or in a chat's last message.")] = None

    def accepts(self, endpoint: Endpoint, model: str, prompt: str) -> bool:
        """Whether a call fulfils the conditions."""
        return self.endpoint == endpoint and self.model in (None, model) and (self.prompt_contains or "") in prompt


class _Rule(_Strict):
    """When a rule strikes: by `rate`, by `every`, or at each match."""

    rate: Annotated[float | None, Field(gt=0, le=1)] = None
    every: Annotated[int | None, Field(ge=1)] = None
    times: Annotated[int | None, Field(ge=1)] = None
    after: Annotated[int, Field(ge=0)] = 0
    match: Match = Match()

    @model_validator(mode="after")
    def _rate_or_every(self) -> Self:
        if self.rate is not None and self.every is not None:
            raise ValueError("give rate or every, not both")
        return self


class SimpleFault(_Rule):
    """A fault without options.

    * `bad_gateway_billed`: 502 with the HTML of a proxy, after billing.
    * `cut_before_billing`, `cut_after_billing`: the connection ends without a reply; not billed, or billed.
    * `truncated_reply_billed`: the connection ends in the middle of the JSON; billed.
    * `gateway_timeout_billed`: 524 with such a page, after billing.
    * `html_200`: an HTML page with status 200; billed.
    * `forbidden_page`: 403 with an HTML page, as from a firewall; not billed.
    * `out_of_credit`: 403 of the kind `err_insufficent_credits`, whatever the balance; not billed.
    * `unauthorized`: 401, whatever the key; not billed.
    * `lost_submission`: a job is made and billed, but the reply with its id is cut off. Strikes the queue only.

    A job of the queue is billed when it is done. Then what follows billing strikes the first answer with its result.
    """

    fault: Literal[
        "bad_gateway_billed",
        "gateway_timeout_billed",
        "forbidden_page",
        "cut_before_billing",
        "cut_after_billing",
        "truncated_reply_billed",
        "html_200",
        "out_of_credit",
        "unauthorized",
        "lost_submission",
    ]


class RateLimited(_Rule):
    """429, not billed; with or without `Retry-After` (the API's docs name no such header)."""

    fault: Literal["rate_limited"]
    retry_after: Annotated[int | None, Field(ge=0)] = None
    envelope: Envelope = "problem"


class ServerError(_Rule):
    """A 5xx in the API's envelope; not billed, unless told so."""

    fault: Literal["server_error"]
    status: Literal[500, 502, 503, 504] = 500
    envelope: Envelope = "problem"
    billed: bool = False


class SlowReply(_Rule):
    """A good reply that takes `seconds` longer; billed at the end."""

    fault: Literal["slow_reply"]
    seconds: Annotated[float, Field(gt=0, le=3600)]


class _ImageRule(_Rule):
    """A fault of images: no chat can match it."""


class FewerImages(_ImageRule):
    """`drop` images fewer than asked for; `billed` says which number is billed."""

    fault: Literal["fewer_images"]
    drop: Annotated[int, Field(ge=1)] = 1
    billed: Literal["requested", "returned"] = "returned"


class SafetyBlock(_ImageRule):
    """The safety filter: 200 with `data` empty or null, or 400 with the upstream's free text."""

    fault: Literal["safety_block"]
    form: Literal["empty_200", "null_200", "http_400"] = "empty_200"
    billed: bool = False

    @model_validator(mode="after")
    def _a_400_is_not_billed(self) -> Self:
        if self.billed and self.form == "http_400":
            raise ValueError("a safety_block of the form http_400 is never billed")
        return self


class Base64Reply(_ImageRule):
    """The image itself in the reply, whatever was asked for; with or without a data-URI prefix."""

    fault: Literal["base64_reply"]
    data_uri: bool = False


class OddReply(_ImageRule):
    """A success in a form that the API's documents do not have; billed, but for `error`.

    `accepted` (202) and `task` (200) name a task, `error` and `billed_error` hold an error object, `events` are
    server-sent events; the others hold the image's URL in another place or another form.
    """

    fault: Literal["odd_reply"]
    form: OddForm


class OtherError(_ImageRule):
    """An error in an envelope that is not the API's own; not billed. `page` is HTML."""

    fault: Literal["other_error"]
    status: Annotated[int, Field(ge=400, le=599)] = 400
    envelope: Literal["openai", "fastapi", "page"] = "openai"
    code: str = "invalid_request_error"


class WithdrawnModel(_ImageRule):
    """404: the provider has withdrawn the model that `match` names, and the list of models says so.

    With `announced` False the list still has it: some models in the provider's list cannot be called.
    """

    fault: Literal["withdrawn_model"]
    replaced_by: str | None = None
    announced: bool = True

    @model_validator(mode="after")
    def _of_a_model(self) -> Self:
        if self.match.model is None:
            raise ValueError("withdrawn_model needs a match with the model that is withdrawn")
        return self


class JobForgotten(_ImageRule):
    """A job of the queue that answers 404 after so many `questions`; it is made and billed all the same."""

    fault: Literal["job_forgotten"]
    questions: Annotated[int, Field(ge=0)] = 0


class JobDoubled(_ImageRule):
    """A job of the queue that is made and billed twice, the second time under an id that nobody is told."""

    fault: Literal["job_doubled"]


class JobDelayed(_ImageRule):
    """A job of the queue that takes `seconds` longer; its submission is answered at once."""

    fault: Literal["job_delayed"]
    seconds: Annotated[float, Field(gt=0, le=3600)]


class JobFailed(_ImageRule):
    """A job of the queue that ends with an error: `status` instead of its result."""

    fault: Literal["job_failed"]
    status: Annotated[int, Field(ge=400, le=599)] = 500
    billed: bool = False


class JobQuestion(_ImageRule):
    """The first questions about a job of the queue get `status`, or (None) no reply."""

    fault: Literal["job_question"]
    status: Annotated[int | None, Field(ge=400, le=599)] = 503
    first_attempts: Annotated[int, Field(ge=1)] = 1


class _ChatRule(_Rule):
    """A fault of a language model's answers; `match` is for chats by default."""

    match: Match = Match(endpoint="chat")


class SimpleChatFault(_ChatRule):
    """A fault of chats without options.

    * `fenced_json`: the JSON in a code fence, with a remark before and after it; billed.
    * `system_role_rejected`: 400 for a message of the role `system`, as some models answer; not billed.
    """

    fault: Literal["fenced_json", "system_role_rejected"]


class BadJson(_ChatRule):
    """Not the JSON that was asked for: `cut` off, `prose`, or other `keys`; billed."""

    fault: Literal["bad_json"]
    form: Literal["cut", "prose", "keys"] = "cut"


class TooLong(_ChatRule):
    """JSON with a prompt of `characters` characters, whatever was asked for; billed."""

    fault: Literal["too_long"]
    characters: Annotated[int, Field(ge=1, le=100_000)] = 900


class ChatRefusal(_ChatRule):
    """The model refuses: with a `message` or a `filter`, billed, or with a 400, not billed."""

    fault: Literal["chat_refusal"]
    form: Literal["message", "filter", "http_400"] = "message"


class EmptyContent(_ChatRule):
    """An answer without text, with or without the model's reasoning; billed."""

    fault: Literal["empty_content"]
    reasoning: bool = True


class ParameterRejected(_ChatRule):
    """400 for a request with a certain parameter; not billed."""

    fault: Literal["parameter_rejected"]
    parameter: Literal["response_format", "max_tokens"]


class _DownloadRule(_ImageRule):
    """A fault of downloads: of the first `first_attempts` GETs of an image, or (None) of all."""

    first_attempts: Annotated[int | None, Field(ge=1)] = 1


class SimpleDownloadFault(_DownloadRule):
    """A fault of downloads without options.

    * `truncated_download`: the connection ends in the middle of the image.
    * `html_download`: an HTML page with status 200 instead of the image.
    * `download_404`, `download_500`: that status.
    * `corrupt_image`: a complete reply whose image cannot be decoded.
    * `expired_url`: 403, as from a signed URL that has expired.
    * `browsers_only`: 403 for a `User-Agent` that is not a browser's.
    """

    fault: Literal[
        "truncated_download",
        "html_download",
        "download_404",
        "download_500",
        "corrupt_image",
        "expired_url",
        "browsers_only",
    ]


class WrongContentType(_DownloadRule):
    """The image, under another media type."""

    fault: Literal["wrong_content_type"]
    content_type: str = "application/octet-stream"


class DownloadStatus(_DownloadRule):
    """Any other status, with a line of text."""

    fault: Literal["download_status"]
    status: Annotated[int, Field(ge=200, le=599)]


class EncodedDownload(_DownloadRule):
    """The image under a `Content-Encoding`; `really` says whether its bytes are encoded so (gzip and deflate)."""

    fault: Literal["encoded_download"]
    encoding: str = "gzip"
    really: bool = False


class PrivateRedirect(_DownloadRule):
    """A redirect to a private address: by default that of a cloud's metadata."""

    fault: Literal["private_redirect"]
    location: str = "http://169.254.169.254/latest/meta-data/"


class OtherBytes(_DownloadRule):
    """Some bytes of your own instead of the image: `data`, in base64. `missing` more are announced and never come."""

    fault: Literal["other_bytes"]
    data: Base64Bytes
    content_type: str = "image/png"
    missing: Annotated[int, Field(ge=0)] = 0


class SlowDownload(_DownloadRule):
    """The image after `seconds`, or (`spread`) in small pieces over that time."""

    fault: Literal["slow_download"]
    seconds: Annotated[float, Field(gt=0, le=3600)]
    spread: bool = False


_JobFault: TypeAlias = JobForgotten | JobDoubled | JobDelayed | JobFailed | JobQuestion
_ImageFault: TypeAlias = FewerImages | SafetyBlock | Base64Reply | OddReply | OtherError | WithdrawnModel | _JobFault
_ChatFault: TypeAlias = SimpleChatFault | BadJson | TooLong | ChatRefusal | EmptyContent | ParameterRejected
CallFault: TypeAlias = SimpleFault | RateLimited | ServerError | SlowReply | _ImageFault | _ChatFault
_OtherDownload: TypeAlias = WrongContentType | DownloadStatus | EncodedDownload | OtherBytes
DownloadFault: TypeAlias = SimpleDownloadFault | _OtherDownload | PrivateRedirect | SlowDownload
Rule: TypeAlias = Annotated[CallFault | DownloadFault, Field(discriminator="fault")]


class FaultPlan(_Strict):
    """The body of `PUT /sandbox/faults`."""

    seed: int = 0
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _matching_endpoints(self) -> Self:
        for rule in self.rules:
            if rule.match.endpoint == "images" and isinstance(rule, _ChatRule):
                raise ValueError(f"{rule.fault} strikes chats only: its match has to name the endpoint chat")
            if rule.match.endpoint == "chat" and isinstance(rule, _ImageRule):
                raise ValueError(f"{rule.fault} strikes images only, so its match cannot name the endpoint chat")
        return self


class FaultInjector:
    """Decides which fault a call or a download gets. The server has one event loop, so that this needs no lock."""

    def __init__(self) -> None:
        self._plan = FaultPlan()
        self._met: list[int] = []
        self._struck: list[int] = []
        self._seen: Counter[bytes] = Counter()
        self.version = 0
        """Changes with the rules; decisions made under another version are void."""

    def put(self, plan: FaultPlan) -> None:
        """Replace all rules and reset their counters."""
        self._plan = plan
        self._met = [0] * len(plan.rules)
        self._struck = [0] * len(plan.rules)
        self._seen.clear()
        self.version += 1

    def report(self) -> dict[str, Any]:
        """The plan as JSON; each rule with the number of calls that it `met` and `struck`."""
        rules = [
            {**rule.model_dump(mode="json", exclude_defaults=True), "met": met, "struck": struck}
            for rule, met, struck in zip(self._plan.rules, self._met, self._struck, strict=True)
        ]
        return {"seed": self._plan.seed, "rules": rules}

    def withdrawn(self, names: Sequence[str]) -> WithdrawnModel | None:
        """The rule that has withdrawn a model for the list of models: it is announced and has begun to strike."""
        for place, rule in enumerate(self._plan.rules):
            if isinstance(rule, WithdrawnModel) and rule.announced and rule.match.model in names:
                begun = self._struck[place] > 0 or (rule.after == 0 and rule.every is None and rule.rate is None)
                if begun and rule.match.prompt_contains is None:
                    return rule
        return None

    def for_call(self, endpoint: Endpoint, model: str, prompt: str) -> CallFault | None:
        """The fault of a paid call, if any."""
        if not self._plan.rules:
            return None
        identity = f"{endpoint}\x1f{model}\x1f{prompt}".encode("utf-8", "surrogatepass")
        key = hashlib.sha256(identity).digest()
        self._seen[key] += 1
        rule = self._strike(endpoint, model, prompt, key, self._seen[key], downloads=False)
        return None if isinstance(rule, _DownloadRule) else rule

    def for_image(self, model: str, prompt: str, identity: bytes) -> DownloadFault | None:
        """The fault of an image's downloads, if any; called once per image and version of the rules."""
        rule = self._strike("images", model, prompt, identity, 0, downloads=True)
        return rule if isinstance(rule, _DownloadRule) else None

    def _strike(
        self, endpoint: Endpoint, model: str, prompt: str, key: bytes, occurrence: int, *, downloads: bool
    ) -> CallFault | DownloadFault | None:
        """The first rule that strikes; counts matches and strikes."""
        for place, rule in enumerate(self._plan.rules):
            if isinstance(rule, _DownloadRule) is not downloads or not rule.match.accepts(endpoint, model, prompt):
                continue
            self._met[place] += 1
            met = self._met[place] - rule.after
            if met <= 0 or (rule.times is not None and self._struck[place] >= rule.times):
                continue
            if rule.every is not None and met % rule.every:
                continue
            if rule.rate is not None and self._draw(place, key, occurrence) >= rule.rate:
                continue
            self._struck[place] += 1
            return rule
        return None

    def _draw(self, place: int, key: bytes, occurrence: int) -> float:
        """A number in [0, 1) that depends on seed, rule, request and occurrence alone."""
        text = f"{self._plan.seed}:{place}:{occurrence}:".encode() + key
        return int.from_bytes(hashlib.sha256(text).digest()[:7], "big") / (1 << 56)
