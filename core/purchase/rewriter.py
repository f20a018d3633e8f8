"""Getting the texts that images wait for: missing texts are bought, texts that others are buying are waited for."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from ..ledger import ClaimedItem, ItemState, Ledger, Rewrite
from ..limits import StopSignal
from ..providers.chat_models import ChatModel
from ..providers.chat_request import ChatDialect
from ..request import Policy
from .purchaser import Purchaser
from .rewrite import PaidRewriteRequest, rewrite_of

_PAUSE = 0.25
_REAP_EVERY = 40

Group = list[ClaimedItem]


class Rewriter:
    """Buys texts for one run. Thread-safe: one for all chunks of a run in a process.

    Args:
        find_model: Language model by its canonical id.
        policy: Whether a rewrite that may have been billed, or that came to nothing, is bought again.
    """

    def __init__(
        self,
        *,
        purchaser: Purchaser,
        ledger: Ledger,
        halt: StopSignal,
        find_model: Callable[[str], ChatModel],
        policy: Policy | None = None,
    ) -> None:
        self._purchaser = purchaser
        self._ledger = ledger
        self._halt = halt
        self._find_model = find_model
        self._policy = policy or Policy()
        self._lock = threading.Lock()
        self._dialects: dict[str, ChatDialect] = {}
        # A policy that asks again means once a run, however many chunks have an image of the same text.
        self._tried: set[str] = set()

    def rewrite(
        self, item_ids: Sequence[str], in_threads: Callable[[Callable[[Group], None], Iterable[Group]], object]
    ) -> None:
        """Get the texts that these images wait for, as far as possible. The ledger records the outcome of each.

        A text that another chunk or process is buying is waited for.

        Args:
            in_threads: Applies a function to every one of some groups, and returns when all are done.

        Raises:
            LedgerUnavailable: The ledger does not answer.
            BadInput: A language model whose price is not known.
        """
        unknown, retry_refused = self._policy.unknown, self._policy.retry_refused
        waits = 0
        while not self._halt.is_set:
            missing = self._ledger.rewrites.missing(item_ids, unknown=unknown, retry_refused=retry_refused)
            with self._lock:
                missing = [rewrite_id for rewrite_id in missing if rewrite_id not in self._tried]
            if not missing:
                return
            claimed = self._ledger.items.claim(missing, unknown=unknown, retry_refused=retry_refused)
            with self._lock:  # asked again: another chunk may have tried meanwhile
                mine = [item for item in claimed if item.state is ItemState.CLAIMED and item.id not in self._tried]
            if mine:
                try:
                    in_threads(self._buy, _groups(mine))
                finally:
                    # First: who waits for these must not find them let go of and untried.
                    with self._lock:
                        self._tried.update(item.id for item in mine)
                    self._ledger.items.release([item.id for item in claimed])
                continue
            self._ledger.items.release([item.id for item in claimed])
            waits += 1
            if waits % _REAP_EVERY == 0:
                self._ledger.release_dead_workers()
            self._halt.sleep(_PAUSE)

    def _buy(self, group: Group) -> None:
        """Buy the variations of one prompt in order: each request contains the texts before it."""
        for item in group:
            if self._halt.is_set:
                return
            rewrite = rewrite_of(item)
            model = self._find_model(rewrite.model)
            request = PaidRewriteRequest(
                item,
                model,
                self._dialect(model.id),
                others=self._others(rewrite),
                trust_unbilled_5xx=self._policy.trust_unbilled_5xx,
            )
            self._purchaser.purchase(request)

    def _others(self, rewrite: Rewrite) -> list[str]:
        earlier = [
            Rewrite(rewrite.model, rewrite.source, rewrite.brief, rewrite.limit, number).id
            for number in range(1, rewrite.variation)
        ]
        found = self._ledger.rewrites.statuses(earlier) if earlier else {}
        texts = (found[rewrite_id].text for rewrite_id in earlier if rewrite_id in found)
        return [text for text in texts if text is not None]

    def _dialect(self, model: str) -> ChatDialect:
        with self._lock:
            return self._dialects.setdefault(model, ChatDialect())


def _groups(items: Iterable[ClaimedItem]) -> list[Group]:
    groups: dict[tuple[str, str, str], Group] = defaultdict(list)
    for item in items:
        groups[item.model, item.prompt, str(item.parameters)].append(item)
    return [sorted(group, key=lambda item: item.variation or 1) for group in groups.values()]
