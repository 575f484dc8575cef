"""The next home: the ranking's first with room, unless it is loaded beyond the others."""

from __future__ import annotations

from gateway.placement.engine_place import EnginePlace
from gateway.placement.homes import Finder
from gateway.placement.layout import Layout
from gateway.placement.rendezvous import ranking

NAMES = [f"engine-{number}" for number in range(6)]


def finder(
    demand: dict[str, float], slots: dict[str, int], held: dict[str, str] | None = None
) -> tuple[Finder, Layout]:
    places = [
        EnginePlace(name, count, frozenset((held or {}).get(name, ""))) for name, count in slots.items()
    ]
    layout = Layout(demand, places)
    return Finder(layout, layout.slots), layout


def test_it_is_the_rankings_first_with_room_that_is_not_a_home_already() -> None:
    order = ranking("a", NAMES)
    for homes in range(3):
        held = dict.fromkeys(order[:homes], "a")
        found, _ = finder({"a": 0.0, "b": 0.0}, dict.fromkeys(NAMES, 1), held | {order[homes]: "b"})
        assert found.find("a") == order[homes + 1]


def test_slots_count_as_weights() -> None:
    slots = {name: 1 + number for number, name in enumerate(NAMES)}
    for adapter in map(str, range(50)):
        found, layout = finder({adapter: 0.0}, slots)
        for expected in ranking(adapter, NAMES, slots):
            assert found.find(adapter) == expected
            layout.load(adapter, expected, "")
            found.changed(expected)


def test_an_engine_loaded_beyond_the_others_is_passed_over() -> None:
    order = ranking("a", NAMES)
    found, _ = finder({"a": 1.0, "b": 100.0}, dict.fromkeys(NAMES, 4), {order[0]: "b"})
    assert found.find("a") == order[1]


def test_where_all_are_loaded_the_least_loaded_is_taken() -> None:
    found, _ = finder(
        {"a": 100.0, "b": 9.0, "c": 8.0}, dict.fromkeys(NAMES[:2], 4), {NAMES[0]: "b", NAMES[1]: "c"}
    )
    assert found.find("a") == NAMES[1]


def test_an_engine_that_fills_up_is_found_no_more_and_one_that_empties_again() -> None:
    found, layout = finder({"a": 0.0, "b": 0.0}, {"one": 1})
    assert found.find("a") == "one"
    layout.load("b", "one", "")
    found.changed("one")
    assert found.find("a") is None
    layout.unload("b", "one", "")
    found.changed("one")
    assert found.find("a") == "one"


def test_there_is_a_way_through_a_full_engine() -> None:
    # a is on three, which alone has room: what fills one of the others must go there
    held = {"one": "b", "two": "b", "three": "ac"}
    found, _ = finder(dict.fromkeys("abc", 0.0), {"one": 1, "two": 1, "three": 3}, held)
    assert found.find("a") is None
    assert found.way("a") in ([("b", "one", "three")], [("b", "two", "three")])


def test_there_is_no_way_where_everything_is_full() -> None:
    found, _ = finder(dict.fromkeys("ab", 0.0), {"one": 1, "two": 1}, {"one": "a", "two": "b"})
    assert found.way("a") is None
