"""What counts as worse than a baseline, and what may be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.bench.results import regression


def result(cpu_ratio: float, instructions_each: float | None = None) -> dict[str, object]:
    ours = {} if instructions_each is None else {"instructions": {"median": instructions_each}}
    of_nginx = {"whole-1": {"to_nginx": {"cpu_us": {"median": cpu_ratio}}}}
    return {"summary": {"whole-1": {"gateway": ours}}, "ratios": of_nginx}


def test_worse_by_more_than_the_tolerance_is_a_regression() -> None:
    assert regression.regressions(result(3.3), result(3.0), tolerance=0.15) == []
    (line,) = regression.regressions(result(3.6), result(3.0), tolerance=0.15)
    assert "+20%" in line


def test_instructions_are_compared_where_both_have_them() -> None:
    assert regression.regressions(result(9.0, 100), result(3.0, 100)) == []
    assert len(regression.regressions(result(3.0, 120), result(3.0, 100))) == 1
    with pytest.raises(ConfigError, match="no figure in common"):
        regression.regressions(result(3.0, 100), result(3.0))


def test_a_baseline_must_be_a_result(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text("{}")
    with pytest.raises(ConfigError, match="no ratios"):
        regression.read_result(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        regression.read_result(tmp_path / "missing.json")
