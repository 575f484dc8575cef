"""Where the benchmark finds things, and what to install where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.bench.programs import places
from launch.bench.programs.places import check_checkout, program


def test_program_is_found_or_its_package_named() -> None:
    assert Path(program("sh")).is_file()
    with pytest.raises(ConfigError, match="apt-get install nosuch"):
        program("nosuch")


def test_package_has_another_name_than_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.bench.programs.places.shutil.which", lambda name, path=None: None)
    with pytest.raises(ConfigError, match="apt-get install nginx-light"):
        program("nginx")


def test_outside_a_checkout_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check_checkout()
    monkeypatch.setattr(places, "PEERS", tmp_path)
    with pytest.raises(ConfigError, match="from a checkout"):
        check_checkout()
