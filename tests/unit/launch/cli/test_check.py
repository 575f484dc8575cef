"""`lora-gateway check`, the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.launch.cli.test_main import run_cli


def test_check_names_the_missing_base(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("base: {model: ./none}\n")
    assert run_cli(monkeypatch, "check", "--config", str(file)) == 2
    error = capsys.readouterr().err
    assert "error: base.model: " in error
    assert error.splitlines()[-1] == "  see docs/troubleshooting.md#base_model"
