"""A purchaser against the real sandbox, and the account held against the sandbox's bill."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect_imagen.core.ledger import CostSummary, Item, ItemState, Ledger, RunItem, RunSpec
from prefect_imagen.core.ledger.schema import calls, items, rewrites
from prefect_imagen.core.limits import Backoff, BalanceGuard, CallLimiter, HealthGate, StopSignal
from prefect_imagen.core.plan import BatchSpec
from prefect_imagen.core.prompts import PromptSpec
from prefect_imagen.core.providers import ImageClient, ImageRequest, load_registry, open_client
from prefect_imagen.core.providers.chat_models import resolve_chat_model
from prefect_imagen.core.purchase import Purchaser, ReplySpool, Rewriter
from prefect_imagen.core.request import Policy
from prefect_imagen.core.rewrite import RewriteSpec
from prefect_imagen.sandbox.process import SandboxServer

from ...bill import check_bill

MODEL = "google/imagen4/preview"
THREADS = 8


@dataclass
class PurchaseHarness:
    """One process that buys for one run."""

    sandbox: SandboxServer
    client: ImageClient
    ledger: Ledger
    replies: ReplySpool
    model: str
    parameters: dict[str, Any]
    policy: Policy
    gate: HealthGate | None = None
    spool_gate: HealthGate | None = None
    rewrite: RewriteSpec | None = None

    def __post_init__(self) -> None:
        self.halt = StopSignal()
        self.limiter = CallLimiter(THREADS, None, self.halt, backoff=Backoff(first=0.01, maximum=0.05))
        self.balance = BalanceGuard(self.client.balance)
        self.items: list[str] = []

    def start(self, budget: int | None = None, run: str = "run") -> None:
        self.run = run
        self.ledger.runs.start(RunSpec(run, self.model, self.parameters, budget=budget))

    def plan(self, count: int) -> None:
        if self.rewrite is None:
            rows = []
            for n in range(count):
                request = ImageRequest.build(self.model, f"fox number {n}", self.parameters)
                item = Item(request.model.spec.id, request.prompt, request.identity())
                rows.append(RunItem(n, item, "x", n))
        else:
            prompts = PromptSpec([f"fox number {n}" for n in range(count)])
            rows = list(BatchSpec(prompts, self.model, self.parameters, rewrite=self.rewrite).run_items())
        self.ledger.runs.add_items(self.run, rows)
        self.items = [row.item.id for row in rows]

    def purchaser(self) -> Purchaser:
        return Purchaser(
            client=self.client,
            ledger=self.ledger,
            replies=self.replies,
            limiter=self.limiter,
            halt=self.halt,
            run_id=self.run,
            model=load_registry().resolve(self.model),
            parameters=self.parameters,
            gate=self.gate,
            spool_gate=self.spool_gate,
            balance=self.balance,
            policy=self.policy,
            backoff=Backoff(first=0.01, maximum=0.05),
        )

    def buy_all(self, **claim: Any) -> None:
        purchaser = self.purchaser()
        claimed = [item for item in self.ledger.items.claim(self.items, **claim) if item.state is ItemState.CLAIMED]
        try:
            with ThreadPoolExecutor(THREADS) as threads:
                list(threads.map(purchaser.buy, claimed))
        finally:
            self.ledger.items.release(self.items)

    def rewrite_all(self, **policy: Any) -> None:
        """Have the prompts rewritten, as one chunk of a run."""
        self.rewrite_with(self.rewriter(**policy))

    def rewriter(self, **policy: Any) -> Rewriter:
        return Rewriter(
            purchaser=self.purchaser(),
            ledger=self.ledger,
            halt=self.halt,
            find_model=resolve_chat_model,
            policy=self.policy.model_copy(update=policy),
        )

    def rewrite_with(self, rewriter: Rewriter) -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            rewriter.rewrite(self.items, lambda buy, groups: list(threads.map(buy, groups)))

    def texts(self) -> dict[str, int]:
        """How many texts are in each state that occurs."""
        return dict(Counter(map(str, self.ledger.rewrites.states(self.items).values())))

    def written(self) -> dict[str, str]:
        """Texts by the prompt and variation they were made from."""
        with self.ledger.read() as connection:
            rows = connection.execute(
                sa.select(items.c.prompt, items.c.variation, rewrites.c.text).join(
                    rewrites, rewrites.c.item_id == items.c.id
                )
            )
            return {f"{row.prompt} / {row.variation}": row.text for row in rows}

    def reasons(self) -> set[str]:
        """Why texts came to nothing."""
        with self.ledger.read() as connection:
            query = sa.select(items.c.reason).where(items.c.kind == "rewrite", items.c.state != "delivered")
            return {str(reason) for reason in connection.scalars(query)}

    def states(self) -> dict[str, int]:
        """How many items are in each state that occurs."""
        return {str(state): n for state, n in self.ledger.runs.progress(self.run).items.items() if n}

    def calls(self) -> list[Any]:
        with self.ledger.read() as connection:
            return list(connection.execute(sa.select(calls).order_by(calls.c.sent_at)))

    def reconcile(self) -> CostSummary:
        """Hold the account against the provider's own bill, call by call; returns the account."""
        check_bill(self.ledger, self.sandbox)
        account = self.ledger.costs.of(self.run)
        progress = self.ledger.runs.progress(self.run)
        assert progress.spent == account.billed
        assert progress.reserved == account.unknown.credits
        assert progress.total == len(self.items)
        assert progress.items[ItemState.CLAIMED] == progress.items[ItemState.SENT] == 0
        return account


@pytest.fixture
def make_harness(
    sandbox: SandboxServer, tmp_path: Path, open_ledger: Callable[..., Ledger]
) -> Iterator[Callable[..., PurchaseHarness]]:
    """Makes harnesses; the second one of the same folder is another process's view."""
    with contextlib.ExitStack() as stack:

        def made(
            count: int = 50,
            *,
            budget: int | None = None,
            model: str = MODEL,
            gate: HealthGate | None = None,
            rewrite: RewriteSpec | None = None,
            spool_gate: HealthGate | None = None,
            **options: Any,
        ) -> PurchaseHarness:
            client = open_client("secret-key", base_url=options.pop("base_url", sandbox.base_url), read_timeout=20)
            stack.callback(client.close)
            policy = Policy(**options.pop("policy", {}))
            ledger = open_ledger(options.pop("database", str(tmp_path / "ledger.db")))
            replies = ReplySpool(tmp_path / "replies")
            opened = PurchaseHarness(
                sandbox, client, ledger, replies, model, options, policy, gate, spool_gate, rewrite
            )
            opened.start(budget)
            opened.plan(count)
            return opened

        yield made
