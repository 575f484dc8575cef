"""A base's chat template and vocabulary, from its folder or the hub's cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import NOT_JSON, ConfigError
from launch.base.hub import hub_file

TOKENIZER = "tokenizer.json"
TOOL_TEMPLATE = "additional_chat_templates/tool_use.jinja"
TEMPLATE = "chat_template.jinja"
HOLDERS = ("chat_template.json", "tokenizer_config.json")
MISTRAL = ("tekken.json",)


@dataclass(frozen=True)
class ChatFiles:
    """What the engine renders a chat with."""

    template: str = ""
    """The one for requests with tools; empty where there is none."""
    vocabulary: bytes = b""
    """The tokenizer's file as it is."""
    mistral_tokenizer: bool = False

    def has_token(self, token: str) -> bool:
        """Whether the tokenizer's file names a token; one without such a file names none."""
        # Such a file has other scripts as they are, or escaped.
        spelled = (json.dumps(token), json.dumps(token, ensure_ascii=False))
        return any(text.encode() in self.vocabulary for text in spelled)


def chat_files(model: str, find: Callable[[str, str], Path | None] | None = None) -> ChatFiles:
    """Of a folder or a hub id; what is not there is empty. `find` looks a hub id's file up.

    A template beside the tokenizer's configuration wins over one within it, as in transformers.
    """
    folder = Path(model)
    look = find or _fetched

    def file(name: str) -> Path | None:
        if not folder.is_absolute():
            return look(model, name)
        return folder / name if (folder / name).is_file() else None

    template = _text(file(TOOL_TEMPLATE)) or _text(file(TEMPLATE))
    for name in HOLDERS:
        template = template or _held(file(name))
    mistral = not template and any(file(name) for name in MISTRAL)
    found = file(TOKENIZER)
    return ChatFiles(template, _bytes(found), mistral)


def _fetched(model: str, name: str) -> Path | None:
    try:
        return hub_file(model, name)
    except ConfigError:
        return None


def _held(file: Path | None) -> str:
    """The template within a JSON file: one, or several by name, of which the tools' own counts first."""
    try:
        document = json.loads(_bytes(file) or b"{}")
    except NOT_JSON:
        return ""
    held = document.get("chat_template") if isinstance(document, dict) else None
    if isinstance(held, list):
        named = {one.get("name"): one.get("template") for one in held if isinstance(one, dict)}
        held = named.get("tool_use") or named.get("default")
    return held if isinstance(held, str) else ""


def _text(file: Path | None) -> str:
    return _bytes(file).decode("utf-8", "replace")


def _bytes(file: Path | None) -> bytes:
    try:
        return file.read_bytes() if file is not None else b""
    except OSError:
        return b""
