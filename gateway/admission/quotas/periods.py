"""The days and months (UTC) that budgets are for, each with a number; times are unix seconds. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

DAY_S = 86400


def day_of(now: float) -> int:
    """Days since 1970 in UTC, which a daily limit is counted by; `now` in seconds since then."""
    return int(now // DAY_S)


def day_end(now: float) -> float:
    """When the next day begins."""
    return float((day_of(now) + 1) * DAY_S)


def month_of(now: float) -> int:
    """Months since the year 0, which a monthly limit is counted by."""
    at = datetime.fromtimestamp(now, UTC)
    return at.year * 12 + at.month - 1


def month_end(now: float) -> float:
    """When the next month begins."""
    year, month = divmod(month_of(now) + 1, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC).timestamp()


class Calendar:
    """Day and month of a time; of the last day asked for they are remembered."""

    __slots__ = ("_begins", "_day", "_ends", "_month")

    def __init__(self) -> None:
        self._begins = self._ends = 0.0
        self._day = self._month = 0

    def of(self, now: float) -> tuple[int, int]:
        """The numbers of its day and its month."""
        if not self._begins <= now < self._ends:
            self._day, self._month = day_of(now), month_of(now)
            self._begins, self._ends = day_end(now) - DAY_S, day_end(now)
        return self._day, self._month
