"""The error tree and its one envelope."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigError, EngineFailure, ModelNotFound, RequestError, Unavailable, nearest


def test_envelope_is_openais() -> None:
    error = Unavailable("Wait.", retry_after_s=3)
    expected = {"message": "Wait.", "type": "service_unavailable", "param": None, "code": "engine_starting"}
    assert error.envelope == {"error": expected}
    assert (error.status, error.retry_after_s) == (503, 3)


SPELLINGS = [("namin", "naming"), ("NAMING", "naming"), ("zzz", None), ("", None)]


@pytest.mark.parametrize(("word", "found"), SPELLINGS)
def test_nearest_spelling(word: str, found: str | None) -> None:
    assert nearest(word, ["naming", "concept"]) == found


def test_unknown_model_lists_the_valid_ones_and_shortens_long_names() -> None:
    error = ModelNotFound.naming("x" * 500, ["b", "a"])
    assert "Valid models: a, b." in error.message
    assert len(error.message) < 200
    assert isinstance(error, RequestError)


def test_config_error_names_key_value_and_mend() -> None:
    assert str(ConfigError("gateway.port", 80, "is taken")) == "gateway.port: 80: is taken"
    assert str(ConfigError("base", "", "is required")) == "base: is required"
    assert str(EngineFailure("died", "lower it")) == "died (lower it)"


def test_thousands_of_models_are_neither_compared_nor_listed_one_by_one() -> None:
    models = [f"task-{number:05}" for number in range(10_000)]
    error = ModelNotFound.naming("task-0123", models)
    assert "Did you mean 'task-01" in error.message
    assert error.message.endswith("and 9900 more.")
