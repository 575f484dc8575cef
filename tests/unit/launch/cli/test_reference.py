"""The page of the command line."""

from __future__ import annotations

import pytest

from launch.cli.main import build_app
from launch.cli.reference import PAGE, page
from launch.commands import command_of, walk

TEXT = page()


def test_the_page_is_of_these_commands() -> None:
    assert PAGE.read_text(encoding="utf-8") == TEXT, "run make docs"


@pytest.mark.parametrize("name", [name for name, _ in walk(command_of(build_app()), "lora-gateway")])
def test_every_command_has_its_section(name: str) -> None:
    assert f"# {name}\n" in TEXT


def test_options_stand_with_their_values_and_bounds() -> None:
    assert "| `--every` | `NUMBER`, from 0.2, default `2.0` | seconds between two looks |" in TEXT
    assert "| `INPUT` |  | a line for each request (docs/batches.md); -: standard input |" in TEXT
    assert "/root" not in TEXT
