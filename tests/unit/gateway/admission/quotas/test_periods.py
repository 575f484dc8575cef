"""Days and months in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.admission.quotas.periods import Calendar, day_end, day_of, month_end, month_of


def at(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]


def test_a_day_ends_where_the_next_begins_and_so_does_a_month() -> None:
    last = at(2026, 12, 31, 23, 59, 59)
    assert day_end(last) == month_end(last) == at(2027, 1, 1)
    assert day_of(last) + 1 == day_of(last + 1)
    assert month_of(last) + 1 == month_of(last + 1)
    assert month_of(at(2026, 12, 1)) == month_of(last)
    assert month_end(at(2028, 2, 1)) == at(2028, 3, 1)


def test_a_calendar_says_the_same_in_whichever_order_it_is_asked() -> None:
    calendar = Calendar()
    noon, midnight = at(2026, 11, 30, 12), at(2026, 12, 1)
    for time in (noon, midnight - 0.001, midnight, midnight + 1, noon, at(2027, 1, 1), at(1970, 1, 1)):
        assert calendar.of(time) == (day_of(time), month_of(time))
