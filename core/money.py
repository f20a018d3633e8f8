"""Money as integers: credits in the account, US dollars at the edges.

The API bills in credits, 2,000,000 of them to the US dollar (AI/ML API docs, "Billing": `credits_used` beside
`usd_spent`). The ledger adds integers only, so that a sum over a million calls is exact to the last credit.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal, InvalidOperation

from .errors import BadInput

CREDITS_PER_USD = 2_000_000
"""Credits in one US dollar."""

_MOST_USD = 1_000_000_000
_NOISE = Decimal("0.000001")


def usd_to_credits(usd: Decimal | float | int | str) -> int:
    """Convert an amount in USD to credits, rounding a fraction of a credit up.

    Args:
        usd: Amount in US dollars. Floats are read by their shortest decimal form, so `0.052` is 104,000 credits. Less
            than a millionth of a credit is the noise of somebody's arithmetic: `0.052000000000000001` is as many.

    Raises:
        BadInput: The amount is not a number, is negative or is above a thousand million.

    Example:
        >>> usd_to_credits("0.052")
        104000
    """
    try:
        amount = Decimal(str(usd))
    except InvalidOperation:
        raise BadInput(f"not an amount in USD: {usd!r}") from None
    if not amount.is_finite() or not 0 <= amount <= _MOST_USD:
        raise BadInput(f"not an amount in USD: {usd!r} (a number from 0 to {_MOST_USD:,} is needed)")
    exact = (amount * CREDITS_PER_USD).quantize(_NOISE, rounding=ROUND_HALF_EVEN)
    return int(exact.to_integral_value(rounding=ROUND_CEILING))


def credits_to_usd(credits_: int) -> Decimal:
    """Convert credits to an exact amount in USD.

    Example:
        >>> credits_to_usd(104000)
        Decimal('0.052')
    """
    return (Decimal(credits_) / CREDITS_PER_USD).normalize() + Decimal(0)


def format_usd(credits_: int) -> str:
    """Write credits as dollars for a person: at least two decimals, more only where they are needed.

    Example:
        >>> format_usd(104000), format_usd(20_800_000)
        ('$0.052', '$10.40')
    """
    text = f"{Decimal(credits_) / CREDITS_PER_USD:.7f}".rstrip("0")
    whole, _, decimals = text.partition(".")
    return f"${int(whole):,}.{decimals.ljust(2, '0')}"
