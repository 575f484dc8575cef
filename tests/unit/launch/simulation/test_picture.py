"""A simulation's picture."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from launch.simulation.picture import bounds, draw, ticks


def rows() -> list[dict[str, object]]:
    return [
        {
            "arrivals": pattern,
            "load": load,
            "policy": policy,
            "first_token_p99_s": 0.3 * load * factor,
            "goodput_per_s": 100 * load,
            "loads_per_minute": 40 * factor,
        }
        for pattern in ("poisson", "bursty")
        for load in (0.2, 0.4)
        for policy, factor in (("lora-gateway", 1), ("least-loaded", 90))
    ]


def test_each_pattern_has_its_panels_and_each_policy_its_line() -> None:
    picture = draw(rows(), "64 engines <simulated>")
    tree = ElementTree.fromstring(picture)
    lines = tree.findall(".//{*}polyline")
    assert len(lines) == 2 * 3 * 2
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        assert len(points) == 2
        assert all(0 <= x <= 270 and 0 <= y <= 150 for x, y in points)
    assert "poisson: first token, p99, s (log)" in picture
    assert "64 engines &lt;simulated&gt;" in picture


def test_an_axis_ends_at_a_round_number() -> None:
    assert bounds([3.0, 234.0], log=False) == (0.0, 300.0)
    assert bounds([0.0], log=False) == (0.0, 1.0)
    assert bounds([0.03, 27.0], log=True) == (0.01, 100)
    assert bounds([1.0], log=True) == (1, 10)
    assert ticks(0.01, 10, log=True) == [0.01, 0.1, 1.0, 10.0]
    assert ticks(0, 300, log=False) == [0, 75, 150, 225, 300]
