"""docs/configuration.md says what the configuration's models say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from gateway.config.document import Config
from launch.setup.configuration_page import HEAD, PAGE, Sections, page, section_models
from launch.supervisor.desired_state import LIVE

DOCS = Path(__file__).parents[4] / "docs"
OPERATING = (DOCS / "operating.md").read_text(encoding="utf-8")
NO_KEYS = {"engine.json", "engine.key", "gateway.client", "adapters.safetensors", "tenants.acme"}
"""Files, a module and an example, which begin like keys."""


def keys_without_description() -> Iterator[str]:
    sections: Sections = [("", Config), *section_models("", Config)]
    for path, model in sections:
        for name, field in model.model_fields.items():
            described = field.description or (
                isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
            )
            if not described:
                yield f"{path}.{name}"


def test_the_page_is_what_the_models_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: make docs"


def test_every_key_says_what_it_is() -> None:
    assert list(keys_without_description()) == []


def test_every_section_of_the_configuration_has_a_heading() -> None:
    text = page()
    for section in ("base", "tasks.<task>", "pipelines.<pipeline>.stages[]", "keys.<name>", "engines[]"):
        assert f"# `{section}`\n" in text


def test_the_head_names_the_sections_that_are_taken_live() -> None:
    (said,) = re.findall(r"taken live for (.*?);", HEAD, re.S)
    assert re.findall(r"`(\w+)`", said) == list(LIVE)
    (told,) = re.findall(r"taken live \(.*?\): (.*?) whole", OPERATING, re.S)
    assert re.findall(r"`(\w+)`", told) == list(LIVE)


def test_a_key_that_a_page_names_is_one() -> None:
    sections: Sections = [("", Config), *section_models("", Config)]
    known = {
        plain(f"{path}.{field.alias or name}".lstrip("."))
        for path, model in sections
        for name, field in model.model_fields.items()
    }
    parts = {key.split(".")[0] for key in known}
    for file in sorted(DOCS.glob("*.md")):
        named = re.findall(r"`([a-z_]+(?:\.[a-z_<>]+)+)(?::[^`]*)?`", file.read_text(encoding="utf-8"))
        keys = {key for key in named if key.split(".")[0] in parts} - NO_KEYS
        assert {key for key in keys if plain(key) not in known} == set(), file.name


def plain(key: str) -> str:
    """Without names of the user's."""
    return re.sub(r"\.<\w+>|\[\]", "", key)


def test_a_type_is_said_in_words_and_a_mark_stands_outside_of_code_alone() -> None:
    text = page()
    assert "| `expires_at` | time with its zone |" in text
    assert "pydantic" not in text
    assert "begin with `<tenant>.`" in text
    assert "| \\<stage>.\\<field>: run once" in text


def test_a_bound_a_default_and_a_unit_are_shown() -> None:
    text = page()
    assert "| `port` | whole number, from 0 up to 65535 | `8080` |" in text
    assert "| `idle_unload` | `never` or seconds, or 90s, 15m, 2h | `never` |" in text
    assert "| `sha256` | text | required |" in text
