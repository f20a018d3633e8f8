"""What an answer means: for the call, for its money, and for the run. The table of the account, in one place.

answer                                              call       again   run
refused connection, DNS, TLS before the body left   unbilled   yes     halts when it lasts
429                                                 unbilled   yes     waits; halts when it lasts
400, 403, 422 in an API's own words                 refused    no      goes on
401, 402, 407, out of credit, 404                   unbilled   no      halts; the item is planned again
2xx with images                                     answered
2xx that shows an empty place for them              refused    no      billed if it carries a cost
2xx with an error, of a known meaning               as above
2xx with an error and a cost                        answered   no      the item is lost
anything else                                       unknown    no      goes on (5xx: see trust_unbilled_5xx)
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from ..http.memory import reading_needs, working_budget
from ..ledger import Answered, ItemState, NewImage, Outcome, Refused, Rewritten, Unbilled, Unknown
from ..limits import StopReason
from ..providers import RawReply, Reply
from ..providers.errors import (
    ApiError,
    BadKey,
    ErrorReply,
    Forbidden,
    InvalidByApi,
    NotFound,
    NotSent,
    OutOfCredit,
    ProxyLogin,
    RateLimited,
    ServerError,
    StatusError,
)
from ..providers.spec import Price


class NextStep(enum.Enum):
    """What to do with an item after a call.

    DONE: nothing more. RETRY_NOW: send a changed request immediately; it does not count as a try. RETRY_LATER: try
    again after a pause, a bounded number of times. THROTTLED: try again once the limiter allows it; all calls wait.
    """

    DONE = "done"
    RETRY_NOW = "retry now"
    RETRY_LATER = "retry later"
    THROTTLED = "throttled"


class Verdict(enum.Enum):
    """What an answer tells of the service, for the rule that pauses the purchase while nothing succeeds.

    SUCCESS: it works, also where it refuses a prompt or a request: that is a definite answer about the item. FAILURE:
    what was asked for did not come, and nobody said that the item is why. NOTHING: another rule speaks of it (429s,
    key, credit, model, no connection).
    """

    SUCCESS = "success"
    FAILURE = "failure"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to record, and what to do next.

    Attributes:
        stop: Why the run should stop, if it should: at once where the item is done, else when the tries are spent.
    """

    outcome: Outcome
    step: NextStep = NextStep.DONE
    retry_after: float | None = None
    stop: StopReason | None = None

    @property
    def verdict(self) -> Verdict:
        """What it tells of the service."""
        match self.outcome:
            case Answered(images=images):
                return Verdict.SUCCESS if images else Verdict.FAILURE
            case Refused() | Rewritten():
                return Verdict.SUCCESS
            case Unknown():
                return Verdict.FAILURE
            case Unbilled(item_state=ItemState.FAILED):
                return Verdict.FAILURE
            case Unbilled(http_status=status) if self.step is NextStep.RETRY_LATER and status is not None:
                return Verdict.FAILURE
        return Verdict.NOTHING


def classify_reply(
    raw: RawReply, *, list_price: int, price: Price | None = None, trust_unbilled_5xx: bool = False
) -> Decision:
    """Decide what a complete answer means.

    Args:
        list_price: Price of the request by the registry, in credits: taken where nothing else tells its cost.
        price: What an image costs; with it a reply that counts tokens or pixels tells its cost.
        trust_unbilled_5xx: Believe the provider's docs that a 500, 502, 503 or 504 is not billed.
    """
    with working_budget().holding(reading_needs(len(raw.body))):
        try:
            reply = raw.read()
        except ErrorReply as error:
            return _error_reply(raw, error)
        except ApiError as error:
            return classify_error(error, trust_unbilled_5xx=trust_unbilled_5xx)
        if any(image.blocked is None for image in reply.images):
            return Decision(_answered(raw, reply, *_cost(reply, list_price, price)))
        return Decision(_refused(raw, reply, list_price))


def _cost(reply: Reply, list_price: int, price: Price | None) -> tuple[int, str]:
    """What was billed, and who says so."""
    if reply.credits is not None:
        return reply.credits, "reply"
    if price is not None and price.tokens is not None and reply.tokens is not None:
        return price.tokens.credits(*reply.tokens), "tokens"
    sizes = [(image.width, image.height) for image in reply.images]
    if price is not None and price.per == "megapixel" and all(width and height for width, height in sizes):
        return sum(price.of_size(width or 0, height or 0) for width, height in sizes), "size"
    return list_price, "price list"


def _answered(raw: RawReply, reply: Reply, cost: int, source: str) -> Answered:
    return Answered(
        images=[
            NewImage(image.index, image.url, image.content_type, image.prompt, image.blocked) for image in reply.images
        ],
        credits=cost,
        cost_source=source,
        seed=reply.seed,
        http_status=raw.status,
        inference_id=reply.inference_id,
        request_id=reply.request_id,
    )


def _refused(raw: RawReply, reply: Reply, list_price: int) -> Refused:
    """A success without a usable image: the provider's filter, as far as anyone can tell."""
    blocked = next((image.blocked for image in reply.images), None)
    # A picture was made and blanked: it costs, even where the reply does not say so.
    assumed = list_price if blocked else 0
    return Refused(
        reason=f"safety: {blocked or reply.refusal or 'the API answered with success and no image'}",
        credits=reply.credits if reply.credits is not None else assumed,
        http_status=raw.status,
        inference_id=reply.inference_id,
        request_id=reply.request_id,
    )


def _error_reply(raw: RawReply, error: ErrorReply) -> Decision:
    """A success status with an error in it: what the reply says it cost goes before what such an error costs."""
    request_id = raw.headers.get("x-request-id")
    known = classify_error(error.meaning) if error.meaning is not None else None
    if error.credits:
        inference_id = raw.headers.get("x-inference-id")
        if known is not None and isinstance(known.outcome, Refused):
            return Decision(replace(known.outcome, credits=error.credits, inference_id=inference_id))
        reason = f"reply: {error.reason}"
        return Decision(Answered([], error.credits, "reply", None, raw.status, inference_id, request_id, reason=reason))
    if known is not None:
        return known
    if error.credits == 0:
        return Decision(Unbilled(error.reason, ItemState.FAILED, raw.status, request_id))
    return Decision(Unknown(error.reason, raw.status, request_id))


def classify_error(error: ApiError, *, trust_unbilled_5xx: bool = False) -> Decision:
    """Decide what an answer without images means, or no answer at all."""
    status = error.status if isinstance(error, StatusError) else None
    request_id = error.request_id if isinstance(error, StatusError) else None
    reason = str(error)

    def unbilled(state: ItemState) -> Unbilled:
        return Unbilled(reason, state, status, request_id)

    match error:
        case NotSent():
            return Decision(unbilled(ItemState.CLAIMED), NextStep.RETRY_LATER, stop=StopReason.API)
        case RateLimited():
            return Decision(unbilled(ItemState.CLAIMED), NextStep.THROTTLED, error.retry_after)
        case BadKey():
            return Decision(unbilled(ItemState.PLANNED), stop=StopReason.KEY)
        case OutOfCredit():
            return Decision(unbilled(ItemState.PLANNED), stop=StopReason.CREDIT)
        case ProxyLogin():
            return Decision(unbilled(ItemState.PLANNED), stop=StopReason.API)
        case NotFound():
            return Decision(unbilled(ItemState.PLANNED), stop=StopReason.MODEL)
        case InvalidByApi() | Forbidden():
            return Decision(Refused(reason, 0, status, None, request_id))
        case ServerError() if trust_unbilled_5xx and error.trusted_unbilled():
            return Decision(unbilled(ItemState.CLAIMED), NextStep.RETRY_LATER)
        case _:
            return Decision(Unknown(reason, status, request_id))
