"""How much `bench scale` measures."""

from __future__ import annotations

from launch.bench.overhead.scale import ScalePlan


def test_quick_plan_has_the_same_sizes_and_less_of_each() -> None:
    whole, quick = ScalePlan(), ScalePlan.quick()
    assert [size for size, _ in quick.bodies] == [size for size, _ in whole.bodies]
    assert all(few < many for (_, few), (_, many) in zip(quick.bodies, whole.bodies, strict=True))
    assert (quick.tasks, quick.rounds) == (whole.tasks, 1)
