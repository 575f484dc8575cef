"""The error tree and its one envelope."""

from __future__ import annotations

import difflib
from unittest.mock import patch

import pytest

from gateway.errors import (
    CLOSELY,
    ConfigError,
    EngineFailure,
    InvalidRequest,
    LoraGatewayError,
    ModelNotFound,
    RequestError,
    Unavailable,
    nearest,
    told,
)


def test_envelope_is_openais() -> None:
    error = Unavailable("Wait.", retry_after_s=3)
    expected = {"message": "Wait.", "type": "service_unavailable", "param": None, "code": "engine_starting"}
    assert error.envelope == {"error": expected}
    assert (error.status, error.retry_after_s) == (503, 3)


RATIO = difflib.SequenceMatcher.ratio
SPELLINGS = [("namin", "naming"), ("NAMING", "naming"), ("zzz", None), ("", None)]


@pytest.mark.parametrize(("word", "found"), SPELLINGS)
def test_nearest_spelling(word: str, found: str | None) -> None:
    assert nearest(word, ["naming", "concept"]) == found


@pytest.mark.parametrize("word", ["task-12", "task-0123", "tsk-021", "TASK-490x", "naming-d", "nothing", ""])
def test_the_nearest_is_difflibs_among_names_that_are_all_alike(word: str) -> None:
    names = [f"task-{number:03}" for number in range(400)]
    names += [f"{task}-{language}" for task in ("naming", "concept") for language in ("de", "en", "it")]
    expected = difflib.get_close_matches(word.lower(), names, n=1)
    with patch.object(difflib.SequenceMatcher, "ratio", autospec=True, side_effect=RATIO) as ratio:
        assert nearest(word, names) == (expected[0] if expected else None)
    assert ratio.call_count <= CLOSELY


def test_unknown_model_lists_the_valid_ones_and_shortens_long_names() -> None:
    error = ModelNotFound.naming("x" * 500, ["b", "a"])
    assert "Valid models: a, b." in error.message
    assert len(error.message) < 200
    assert isinstance(error, RequestError)


def test_config_error_names_key_value_and_mend() -> None:
    assert str(ConfigError("gateway.port", 80, "is taken")) == "gateway.port: 80: is taken"
    assert str(ConfigError("base", "", "is required")) == "base: is required"
    assert str(EngineFailure("died", "lower it")) == "died (lower it)"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConfigError("gateway.port", 80, "is\ntaken"), "error: gateway.port: 80: is taken (see {}#port)"),
        (ConfigError("gateway.tls.key", "", "no"), "error: gateway.tls.key: no (see {}#tls)"),
        (ConfigError("tasks.a.adapter", "x", "no"), "error: tasks.a.adapter: x: no (see {}#adapter)"),
        (
            ConfigError("pipelines.a.stages[0]", "", "no"),
            "error: pipelines.a.stages[0]: no (see {}#pipeline)",
        ),
        (ConfigError("gateway.max", 0, "no"), "error: gateway.max: 0: no (see {}#setting)"),
        (ConfigError("--canary", "x", "no"), "error: --canary: x: no (see {}#argument)"),
        (EngineFailure("died"), "error: died (see {}#engine_failed)"),
        (InvalidRequest("no"), "error: no (see {}#invalid_request)"),
        (LoraGatewayError("no"), "error: no"),
    ],
)
def test_a_command_says_the_error_and_where_to_read_on(error: LoraGatewayError, said: str) -> None:
    assert told(error) == said.format("docs/troubleshooting.md")


def test_thousands_of_models_are_neither_compared_nor_listed_one_by_one() -> None:
    models = [f"task-{number:05}" for number in range(10_000)]
    error = ModelNotFound.naming("task-0123", models)
    assert "Did you mean 'task-01" in error.message
    assert error.message.endswith("and 9900 more.")
