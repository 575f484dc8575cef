"""A base's own files, where they can be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launch.base.parsers.chat_template import chat_files
from tests.unit.launch.base.parsers.test_model_parsers import CALL, QWEN


def test_files_of_a_base(tmp_path: Path) -> None:
    assert chat_files(str(tmp_path)).template == ""
    config = {"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert chat_files(str(tmp_path)).template == "b"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "c"}))
    assert chat_files(str(tmp_path)).template == "c"
    (tmp_path / "chat_template.jinja").write_text("d", encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"content": CALL}]}))
    files = chat_files(str(tmp_path))
    assert (files.template, files.mistral_tokenizer) == ("d", False)
    assert files.has_token(CALL)
    assert not files.has_token("<think>")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates/tool_use.jinja").write_text("e", encoding="utf-8")
    assert chat_files(str(tmp_path)).template == "e"


@pytest.mark.parametrize("content", [b"\xff{", b"[" * 100_000])
def test_files_that_cannot_be_read_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer_config.json").write_bytes(content)
    (tmp_path / "tekken.json").write_text("{}")
    assert chat_files(str(tmp_path)).mistral_tokenizer
    assert chat_files("owner/name", lambda model, name: None).template == ""
    hub = tmp_path / "hub.jinja"
    hub.write_text(QWEN, encoding="utf-8")
    found = chat_files("owner/name", lambda model, name: hub if name == "chat_template.jinja" else None)
    assert found.template == QWEN
