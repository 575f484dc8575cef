"""Options that several commands share: which configuration is meant, and where its state is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gateway.errors import ConfigError
from launch.cli.options import DEMO_CONFIG, ConfigOption, state_folder


def test_configuration_that_is_named_counts_and_else_the_folders_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = typer.Typer()

    @app.command()
    def shown(config: ConfigOption = DEMO_CONFIG) -> None:
        typer.echo(config)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "lora-gateway.yaml").touch()
    assert CliRunner().invoke(app, []).output.strip() == "lora-gateway.yaml"
    assert CliRunner().invoke(app, ["-c", str(DEMO_CONFIG)]).output.strip() == str(DEMO_CONFIG)


def test_state_of_a_broken_configuration_is_found_where_its_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("broken: [")
    assert state_folder(tmp_path / "c.yaml", tmp_path / "state") == tmp_path / "state"
    with pytest.raises(ConfigError):
        state_folder(tmp_path / "c.yaml", None)
    kept = {"base": {"model": "some/model"}, "state_dir": str(tmp_path / "kept")}
    (tmp_path / "c.yaml").write_text(json.dumps(kept))
    assert state_folder(tmp_path / "c.yaml", None) == tmp_path / "kept"
