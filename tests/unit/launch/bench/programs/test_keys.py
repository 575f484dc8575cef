"""A benchmark's keys are those that a gateway lets in."""

from __future__ import annotations

from gateway.admission.api_keys import Keys
from gateway.config.document import KeyConfig
from launch.bench.programs.keys import key_settings


def test_who_asks_with_the_key_is_let_in() -> None:
    keys = Keys({"bench": KeyConfig.model_validate(key_settings("sk-bench"))})
    assert keys.principal(b"Bearer sk-bench", ()).name == "bench"
