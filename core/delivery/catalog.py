"""Writing down what became of images, then clearing the spool. In this order: what is written is safe to forget."""

from __future__ import annotations

from collections.abc import Sequence

from ..ledger import ImageResult, ImageState, Ledger
from .spool import Spool


def record(ledger: Ledger, spool: Spool, results: Sequence[ImageResult]) -> None:
    """Commit results to the catalog in one transaction, then remove the files that are no longer needed.

    Raises:
        LedgerUnavailable: Nothing was recorded; the files stay, and the next run finds them.
    """
    if not results:
        return
    ledger.images.finish(results)
    for result in results:
        if result.state is not ImageState.PENDING:
            spool.discard(f"{result.call_id}-{result.index}")
    call_ids = {result.call_id for result in results}
    # The ledger knows, the results do not: they may be a part of a reply's images only.
    for call_id in call_ids - ledger.images.pending_calls(sorted(call_ids)):
        spool.replies.delete(call_id)
