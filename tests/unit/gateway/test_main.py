"""What a gateway says when it begins to listen."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gateway.__main__ import MOST_NAMED, _announce
from gateway.config.document import Config


def test_of_very_many_models_some_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = {f"task-{number}": {"adapter": str(tmp_path)} for number in range(MOST_NAMED + 8)}
    config = Config.model_validate({"base": {"model": "some/model", "name": "base"}, "tasks": tasks})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _announce(config, listener)
    said = capsys.readouterr().err
    assert "(base, task-0, task-1, " in said
    assert f"task-{MOST_NAMED - 2} and 9 more; no keys in the configuration)" in said
