"""Who is asked first: another one from cell to cell and from round to round."""

from __future__ import annotations

from collections import Counter

from launch.bench.results.turns import in_order, rotated


def test_another_one_is_first_each_turn_and_none_is_left_out() -> None:
    assert [rotated("abc", turn) for turn in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_of_two_ways_each_is_first_in_half_of_the_visits() -> None:
    assert in_order((0.3, 0.6), (1, 2), 0) == [(0.3, 1), (0.3, 2), (0.6, 2), (0.6, 1)]
    assert in_order((0.3, 0.6), (1, 2), 1) == [(0.3, 2), (0.3, 1), (0.6, 1), (0.6, 2)]


def test_each_of_three_ways_is_first_as_often_as_another() -> None:
    cells, ways = (2, 8, 16, 32), ("one", "two", "whole")
    order = [in_order(cells, ways, turn) for turn in range(3)]
    for turn in order:
        assert Counter(turn) == Counter((cell, way) for cell in cells for way in ways)
    firsts = Counter(turn[place][1] for turn in order for place in range(0, 12, 3))
    assert firsts == dict.fromkeys(ways, 4)
