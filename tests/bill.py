"""The one check of every test that spends: the ledger against the provider's own bill, call by call."""

from __future__ import annotations

import sqlalchemy as sa
from prefect_imagen.core.ledger import CostSummary, Ledger
from prefect_imagen.core.ledger.schema import calls
from prefect_imagen.sandbox import SandboxServer


def check_bill(ledger: Ledger, sandbox: SandboxServer, *, settled: bool = False, idle: bool = True) -> CostSummary:
    """Hold the sum of the account against the sandbox's bill, and every call against its entry.

    Args:
        ledger: All that was bought since the sandbox's call log was last reset is on it.
        sandbox: Its bill is final: nothing is in flight any more.
        settled: Also that nothing is left unknown: the two sums are the same.
        idle: Wait for the calls in flight; without, they must be ones that nobody waits for any more.

    Returns:
        The account of the whole ledger.
    """
    if idle:
        sandbox.wait_idle()
    bill = sandbox.bill()
    billed = {entry["client_request_id"]: entry["credits"] for entry in bill["entries"]}
    assert len(billed) == len(bill["entries"]), "a call without an id of ours, or one id twice"
    with ledger.read() as connection:
        known = {row.id: row for row in connection.execute(sa.select(calls))}
    assert billed.keys() <= known.keys(), "the provider billed calls that the ledger has never heard of"
    received = {call["client_request_id"] for call in sandbox.calls()}
    assert received <= known.keys(), "the provider received calls that the ledger has never heard of"
    for call_id, call in known.items():
        if call.outcome in ("unknown", "sent"):
            assert call.billed is None
            assert billed.get(call_id, 0) <= call.reserved, f"{call_id} cost more than was reserved"
        elif call.billed:
            assert billed.get(call_id) == call.settled, f"{call_id}: {call.outcome}, billed in the ledger"
        else:
            assert call_id not in billed, f"{call_id}: {call.outcome}, not billed in the ledger"
            assert not call.settled
    account = ledger.costs.of()
    assert sum(getattr(account, name).calls for name in account.__dataclass_fields__) == len(known)
    assert account.billed <= bill["credits"] <= account.billed_at_most
    if settled:
        assert account.unknown.calls == account.in_flight.calls == 0
        assert account.billed == bill["credits"] == account.billed_at_most
    return account
