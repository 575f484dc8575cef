"""What `auto` stands for."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.config.document import BaseConfig
from launch.base.parsers.base_parsers import fitting_parsers
from launch.base.parsers.model_parsers import Parsers
from tests.unit.launch.base.parsers.test_model_parsers import QWEN


def base(**settings: object) -> BaseConfig:
    return BaseConfig.model_validate(settings)


def test_auto_asks_a_bases_files_and_a_name_or_null_does_not(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    (tmp_path / "chat_template.jinja").write_text(QWEN, encoding="utf-8")
    folder = str(tmp_path)
    assert fitting_parsers(base(model=folder), folder, "") == Parsers("hermes", None)
    told = base(model=folder, tool_call_parser="pythonic", reasoning_parser=None)
    assert fitting_parsers(told, folder, "") == Parsers()
    assert fitting_parsers(base(model=folder), str(tmp_path / "none"), "") == Parsers()
    for off in (None, "none", "off"):
        assert base(model=folder, tool_call_parser=off).tool_call_parser is None
