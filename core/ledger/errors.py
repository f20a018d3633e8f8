"""Errors of the ledger.

BadInput
├── LedgerNotUsable       the URL is wrong, a driver is missing, the schema is newer than this package
│   └── LedgerMissing     there is none yet, and none was to be made
└── LedgerMismatch        the ledger belongs to another API, or the destination to another ledger
    └── LedgerBehind      the ledger is an older copy of the one that filled the destination
Unavailable
└── LedgerUnavailable     the database does not answer, or is locked for too long
"""

from __future__ import annotations

from ..errors import BadInput, Unavailable


class LedgerNotUsable(BadInput):
    """The ledger cannot be opened as it was asked for."""


class LedgerMissing(LedgerNotUsable):
    """There is no ledger there yet, and it was not to be made."""


class LedgerMismatch(BadInput):
    """This ledger is the account book of something else: going on would mix two accounts."""


class LedgerBehind(LedgerMismatch):
    """This ledger is an older copy of itself: it does not know what was bought since, and would buy it again."""


class LedgerUnavailable(Unavailable):
    """The database does not answer. What was bought is in the ledger or in the spool; nothing is lost."""
