"""What a service's 429s teach about its limit.

The API documents no limit and no header that would name one (AI/ML API docs, errors: a 429 stands for "rate or
concurrency"). So the limit is found as TCP finds the capacity of a line: slower at once when it says "too many", then
back towards the rate at which it said so, a while just below it, and after that carefully beyond, since limits are also
raised.

    allowed
      rate │        ╱ no 429 for minutes: beyond it
     100 % ┤- - - -╱- - - - - - - - - - - - - - -  the ceiling: where the last 429 came
      98 % ┤  ╭────╯ a while just below
      90 % ┤─╯ after 429s
           └──────────────────────── busy seconds

A single 429 among many answers proves no limit: a service also sheds load at random. So it takes several, or pauses
that did not help, before a rate is set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_AFTER_A_CUT = 0.90
_JUST_BELOW = 0.98
_RECOVERY = 60.0
_PLATEAU = 180.0
_BEYOND = 0.02
_LARGEST_CUT = 0.80
_LEAST = 1.0
_DOUBLING = 10.0
_PROOF = 20
_LONG_STREAK = 4


@dataclass(frozen=True, slots=True)
class AdaptiveRate:
    """The limit of one key and model as far as it is known. Plain data: the ledger keeps it from run to run.

    Attributes:
        ceiling: Calls a minute at which the last "too many" came; None as long as no limit was met.
        confirmed: Whether the ceiling is what a whole minute was seen to let through. If not, it is a guess on the low
            side, and the rate doubles every ten seconds until the next 429.
        busy: Seconds of sending at this rate since the last cut. Time in which nobody sends teaches nothing, so a
            rate that was observed yesterday holds today.

    Example:
        >>> rate = AdaptiveRate().decrease(accepted=120, consecutive_429s=4)
        >>> rate.per_minute
        108.0
        >>> round(rate.used(60).per_minute, 1), round(rate.used(600).per_minute)
        (117.6, 235)
    """

    ceiling: float | None = None
    confirmed: bool = False
    busy: float = 0.0

    @property
    def per_minute(self) -> float | None:
        """Calls a minute that may be sent now; None for any number."""
        if self.ceiling is None:
            return None
        if not self.confirmed:
            return float(self.ceiling * _AFTER_A_CUT * 2 ** min(self.busy / _DOUBLING, 16))
        if self.busy < _RECOVERY:
            return self.ceiling * (_AFTER_A_CUT + (_JUST_BELOW - _AFTER_A_CUT) * self.busy / _RECOVERY)
        minutes = max(0.0, self.busy - _PLATEAU) / 60
        return self.ceiling * (_JUST_BELOW + _BEYOND * minutes * minutes)

    def used(self, seconds: float) -> AdaptiveRate:
        """So many more seconds of sending at this rate, and no 429."""
        return self if self.ceiling is None else replace(self, busy=self.busy + max(0.0, seconds))

    def decrease(self, *, accepted: int, consecutive_429s: int) -> AdaptiveRate:
        """The service has said "too many".

        Args:
            accepted: Calls it let through in the 60 s before: of a limit by the minute exactly that limit.
            consecutive_429s: 429s in a row, with ever longer pauses between. Pauses of some seconds that do not help
                mean a window of a minute; one that does means a limit per second, of which `accepted` says little.
        """
        current = self.per_minute
        long = consecutive_429s >= _LONG_STREAK
        if current is None:
            enough = accepted > 0 if long else accepted >= _PROOF
            return AdaptiveRate(max(float(accepted), _LEAST), confirmed=long) if enough else self
        if long:
            return AdaptiveRate(max(float(accepted), _LEAST), confirmed=True)
        if self.confirmed and consecutive_429s == 1:
            return AdaptiveRate(current, confirmed=True, busy=_RECOVERY)  # a little slower; the next answers tell more
        return AdaptiveRate(max(_LEAST, min(current, max(float(accepted), _LARGEST_CUT * current))), confirmed=True)

    def confirm(self, *, accepted: int, consecutive_429s: int) -> AdaptiveRate:
        """Another 429 after a pause: the rate was cut already, but more is known of the window now."""
        if self.ceiling is None or (consecutive_429s >= _LONG_STREAK and not accepted):
            return self
        if consecutive_429s < _LONG_STREAK and (consecutive_429s > 2 or not self.confirmed):
            return self
        return self.decrease(accepted=accepted, consecutive_429s=consecutive_429s)
