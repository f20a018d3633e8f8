"""What each object is told of its purchase, so that a ledger can be made again from the objects alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..values import canonical_json

__all__ = ["purchase_facts"]


def purchase_facts(
    *,
    model: str,
    edition: str,
    repeat: int,
    parameters: Mapping[str, Any],
    prompt: str,
    rewritten: bool,
    run_id: str,
    requested: int,
    returned: int,
    credits: int,
    cost_source: str,
    seed: object,
    wire_model: str,
    contract: str,
) -> dict[str, str]:
    """The facts as names and texts, the most needed first; what is empty is left out.

    Args:
        model: Canonical id.
        edition: Of the item.
        repeat: Of the item.
        parameters: Of the item.
        prompt: Of the item: the text that was given, not what it was rewritten to.
        rewritten: Whether it was rewritten.
        run_id: The run that paid.
        requested: Images asked for.
        returned: Images in the reply.
        credits: What the call cost.
        cost_source: Who says so.
        seed: That was sent, if any.
        wire_model: The body's model.
        contract: The contract's name.
    """
    facts = {
        "model": model,
        "repeat": str(repeat),
        "call-credits": str(credits),
        "cost-source": cost_source,
        "images-requested": str(requested),
        "images-returned": str(returned),
        "run-id": run_id,
        "wire-model": wire_model,
        "contract": contract,
        "seed": "" if seed is None else str(seed),
        "rewritten": "yes" if rewritten else "",
        "edition": edition,
        "parameters": canonical_json(dict(parameters)),
        "prompt": prompt,
    }
    return {name: value for name, value in facts.items() if value}
