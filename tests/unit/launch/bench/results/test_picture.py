"""The picture of a result."""

from __future__ import annotations

from launch.bench.results.picture import draw, longest_bar


def test_a_bar_that_dwarfs_the_others_is_cut() -> None:
    assert longest_bar([100, 150, 200, 15_000]) == 200
    summary = {"whole-1": {name: {"added_p50_us": {"median": value}} for name, value in SIZES.items()}}
    picture = draw(summary, "foot & all")
    assert picture.count('class="cut"') == 1
    assert "15,000" in picture
    assert "foot &amp; all" in picture
    assert "Requests per second" not in picture


SIZES = {"gateway": 150.0, "nginx": 100.0, "litellm": 15_000.0, "direct": 20.0}
