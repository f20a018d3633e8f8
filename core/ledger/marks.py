"""Marks: a number for each destination that only grows, here and in the marker at the destination.

The ledger's is written first. So the marker has a greater number only if the ledger is an older copy of itself, such as
a backup that was restored, and would buy again what the lost part of it has paid for.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Part
from .schema import insert_new, marks


class Marks(Part):
    """The numbers of a ledger's destinations."""

    def number(self, destination: str) -> int:
        """The number of a destination; 0 before its first purchase."""
        return int(self._scalar(_NUMBER.where(marks.c.destination == destination)) or 0)

    def advance(self, destination: str, seen: int) -> int | None:
        """Make a destination's number greater by one.

        Args:
            destination: URI of the place.
            seen: The number that its marker had just now.

        Returns:
            The new number; None, and no change, if the marker is ahead of this ledger.
        """
        this = marks.c.destination == destination

        def operation(connection: Connection) -> int | None:
            connection.execute(insert_new(connection, marks), [{"destination": destination, "number": 0}])
            # The row is locked by this: of several processes each gets a number of its own.
            grown = sa.update(marks).where(this, marks.c.number >= seen).values(number=marks.c.number + 1)
            if connection.execute(grown).rowcount != 1:
                return None
            return int(connection.scalar(_NUMBER.where(this)) or 0)

        return self._database.write(operation)

    def catch_up(self, destination: str, seen: int) -> None:
        """Raise a destination's number to that of its marker, once the ledger has taken in what is there."""
        this = marks.c.destination == destination

        def operation(connection: Connection) -> None:
            connection.execute(insert_new(connection, marks), [{"destination": destination, "number": 0}])
            connection.execute(sa.update(marks).where(this, marks.c.number < seen).values(number=seen))

        self._database.write(operation)


_NUMBER = sa.select(marks.c.number)
