"""The command's first second: Ctrl-C while its modules are imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from launch.entry import main


class Interrupted:
    """Stands before the import system: whoever looks for the command's module is interrupted."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> None:
        if name == "launch.cli.main":
            raise KeyboardInterrupt


def test_ctrl_c_during_the_imports_ends_it_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "launch.cli.main", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capfd.readouterr() == ("", "")


def test_a_command_line_is_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["lora-gateway", "up", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "Start engine and gateway" in capsys.readouterr().out
