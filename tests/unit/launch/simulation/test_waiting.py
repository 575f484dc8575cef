"""Who is next at an engine: the first that came, of those whose adapter finds a slot in the batch."""

from __future__ import annotations

from launch.simulation.request import Request
from launch.simulation.waiting import InOrder


def waiting(*adapters: str, slots: int = 2) -> InOrder:
    found = InOrder(slots)
    for number, adapter in enumerate(adapters):
        found.add(Request(float(number), adapter, 1, 1))
    return found


def test_first_come_is_first() -> None:
    found = waiting("a", "b", "a")
    taken = [found.next({}) for _ in range(4)]
    assert [one and one.at_s for one in taken] == [0.0, 1.0, 2.0, None]


def test_an_adapter_without_a_slot_is_passed_over() -> None:
    found = waiting("c", "b", "a")
    first = found.next({"a": 1, "b": 1})
    assert first is not None
    assert first.adapter == "b"
    assert waiting("c").next({"a": 1, "b": 1}) is None


def test_who_leaves_is_there_no_longer() -> None:
    found = InOrder(1)
    one, other = Request(0.0, "a", 1, 1), Request(1.0, "a", 1, 1)
    found.add(one)
    found.add(other)
    assert not found.remove(Request(0.0, "b", 1, 1))
    assert found.remove(one)
    assert found.next({}) is other
    assert not found.remove(other)
    assert len(found) == 0
