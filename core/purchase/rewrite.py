"""The paid request for the text of one rewrite; an unusable answer is requested again, a few times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..http.memory import reading_needs, working_budget
from ..ledger import CallIntent, ClaimedItem, ItemState, Rewrite, Rewritten, Unbilled
from ..providers import ImageClient, RawReply, Recovery
from ..providers.chat_models import ChatModel
from ..providers.chat_reply import ChatReply
from ..providers.chat_request import ChatDialect, ChatForm, ChatRequest
from ..providers.errors import ApiError, CannotRecover, InvalidByApi
from ..rewrite import TRIES, UnusableAnswer, make_request, read_answer
from .decision import Decision, NextStep, classify_error

CHAT_CONTRACT = "chat"
"""What a call to a language model has for the name of its contract in the ledger."""


def rewrite_of(item: ClaimedItem) -> Rewrite:
    """What a claimed item of the kind `rewrite` asks for."""
    wanted = item.parameters
    return Rewrite(item.model, item.prompt, str(wanted["brief"]), int(wanted["limit"]), item.variation or 1)


def classify_rewrite(raw: RawReply, *, limit: int, model: ChatModel | None, assumed: int) -> tuple[Rewritten, bool]:
    """Read a complete answer, as it came or as it was found in the spool.

    Args:
        limit: Longest text of use, in UTF-16 code units.
        model: For the price where the reply names no cost; None where it is not known any more.
        assumed: Credits that are taken where the reply names neither cost nor tokens.

    Returns:
        The text, or why there is none; and whether the answer ended for want of tokens.

    Raises:
        ApiError: The answer is an error.
    """
    with working_budget().holding(reading_needs(len(raw.body))):
        reply = raw.read_chat()
    cost, source = _cost(reply, model, assumed)
    text, reason, state, cut = None, None, ItemState.REFUSED, False
    try:
        text = read_answer(reply, limit)
    except UnusableAnswer as error:
        reason, cut = error.problem, error.cut
        state = ItemState.REFUSED if error.final else ItemState.PLANNED
    return Rewritten(text, cost, source, reason, state, raw.status, reply.inference_id, reply.request_id), cut


def _cost(reply: ChatReply, model: ChatModel | None, assumed: int) -> tuple[int, str]:
    if reply.credits is not None:
        return reply.credits, "reply"
    if reply.input_tokens is not None and reply.output_tokens is not None and model is not None:
        return model.price(reply.input_tokens, reply.output_tokens), "price list"
    return (0 if reply.empty else assumed), "price list"


class PaidRewriteRequest:
    """A request for the text of a rewrite. One thread works on it.

    Args:
        dialect: The form of request that the model accepts; shared by all requests to it.
    """

    def __init__(
        self,
        item: ClaimedItem,
        model: ChatModel,
        dialect: ChatDialect,
        *,
        others: Sequence[str] = (),
        trust_unbilled_5xx: bool = False,
    ) -> None:
        self.item = item
        self._rewrite = rewrite_of(item)
        self._model = model
        self._dialect = dialect
        self._others = tuple(others)
        self._trust = trust_unbilled_5xx
        self._answers = 0
        self._thinking = 1
        self._problem: str | None = None
        self._form: ChatForm = dialect.form
        self._request: ChatRequest = self._ask()

    def _ask(self) -> ChatRequest:
        return make_request(
            self._model,
            self._rewrite,
            others=self._others,
            attempt=self._answers + 1,
            problem=self._problem,
            thinking=self._thinking,
        )

    def intent(self, call_id: str, run_id: str, worker_id: str) -> CallIntent:
        self._form = self._dialect.form
        return CallIntent(
            id=call_id,
            item_id=self.item.id,
            run_id=run_id,
            worker_id=worker_id,
            reserve=self._request.price_high,
            requested=1,
            seed=None,
            wire_model=self._model.wire_model or self._model.id,
            contract=CHAT_CONTRACT,
        )

    provider: str | None = None

    def promise(self, client: ImageClient, intent: CallIntent) -> Recovery | None:
        return None

    def recover(self, client: ImageClient, intent: CallIntent, recovery: Recovery) -> RawReply:
        raise CannotRecover("texts are not asked for twice")

    def send(self, client: ImageClient, intent: CallIntent, on_job: Callable[[Recovery], object]) -> RawReply:
        return client.chat(self._request.body(self._form), intent.id)

    def classify(self, answer: RawReply | ApiError) -> Decision:
        """Decide what the answer means; an unusable one is requested again, up to `TRIES` times in all."""
        if isinstance(answer, RawReply):
            try:
                return self._classify_text(
                    *classify_rewrite(
                        answer, limit=self._rewrite.limit, model=self._model, assumed=self._request.price_high
                    )
                )
            except ApiError as error:
                answer = error
        if isinstance(answer, InvalidByApi) and self._dialect.learn(self._form, answer.message):
            again = Unbilled(str(answer), ItemState.CLAIMED, answer.status, answer.request_id)
            return Decision(again, NextStep.RETRY_NOW)
        return classify_error(answer, trust_unbilled_5xx=self._trust)

    def _classify_text(self, found: Rewritten, cut: bool) -> Decision:
        self._answers += 1
        last = self._answers >= TRIES
        problem, final = found.reason, found.item_state is ItemState.REFUSED and found.text is None
        if found.text is not None and not last and _known(found.text, self._others):
            # The last one is taken all the same: two pictures of one text are of more use than one.
            problem = "it is the same as another variation"
        if problem is None:
            return Decision(found)
        if last or final:
            counted = f" (the last of {self._answers} answers)" if self._answers > 1 else ""
            return Decision(replace(found, text=None, reason=f"{problem}{counted}", item_state=ItemState.REFUSED))
        self._problem = problem
        if cut:
            self._thinking *= 2
        self._request = self._ask()
        again = replace(found, text=None, reason=problem, item_state=ItemState.CLAIMED)
        return Decision(again, NextStep.RETRY_NOW)


def _known(text: str, others: Sequence[str]) -> bool:
    return text.casefold() in {other.casefold() for other in others}
