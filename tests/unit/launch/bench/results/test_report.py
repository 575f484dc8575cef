"""Results on the terminal."""

from __future__ import annotations

from launch.bench.results import report


def test_near_the_direct_rate_it_is_the_mock_that_bounds() -> None:
    subjects = {name: {"requests_per_s": {"median": rate}} for name, rate in RATES.items()}
    assert report.bound_by("nginx", subjects["nginx"], subjects) == "mock"
    assert report.bound_by("gateway", subjects["gateway"], subjects) == "proxy"
    assert report.bound_by("direct", subjects["direct"], subjects) == "-"


RATES = {"direct": 100.0, "nginx": 90.0, "gateway": 50.0}
