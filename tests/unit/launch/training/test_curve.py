"""Whether going on still pays, by the loss on what is held out."""

from __future__ import annotations

from launch.training.curve import Curve, Point


def points(*losses: float) -> Curve:
    curve = Curve()
    for number, loss in enumerate(losses):
        curve.add(Point(4.0 * number, 10 * number, loss))
    return curve


def test_the_best_is_the_lowest() -> None:
    curve = points(1.0, 0.8, 0.9)
    assert curve.best == Point(4.0, 10, 0.8)
    assert not curve.add(Point(12.0, 30, 0.8))
    assert curve.add(Point(16.0, 40, 0.5))


def test_it_pays_while_one_of_the_last_points_gained_something() -> None:
    assert points().pays(1)
    assert points(1.0, 0.9, 0.95).pays(2)
    assert not points(1.0, 0.9, 0.95, 0.91).pays(2)
    assert points(1.0, 0.9, 0.95, 0.91, 0.8).pays(2)


def test_a_hairs_breadth_is_no_gain_but_kept() -> None:
    curve = points(1.0, 0.9999, 0.9998)
    assert not curve.pays(2)
    assert curve.best == Point(8.0, 20, 0.9998)


def test_a_point_is_written_in_full() -> None:
    assert Point(4.00004, 10, 0.123456).rendered() == {"minutes": 4.0, "steps": 10, "loss": 0.1235}
