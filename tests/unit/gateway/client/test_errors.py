"""Each answer has its exception."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import httpx
import pytest

from gateway.client import (
    AdapterNotLoaded,
    AnswerError,
    ClientError,
    EngineFailed,
    EngineStarting,
    InvalidArgument,
    ModelManager,
    NotConfigured,
    OutputInvalid,
    Overloaded,
    PipelineFailed,
    RateLimited,
    RequestRefused,
    StackFailed,
    TimedOut,
)
from gateway.client.errors import ConnectionLost
from gateway.errors import LoraGatewayError
from tests.unit.gateway.client.test_transport import MODELS, Answering, by_hand, network, said

pytestmark = pytest.mark.usefixtures("named_gateway")


def refused(status: int, code: str | None = None, **headers: str) -> Answering:
    error = {"message": "It says so.", "type": "t", "param": "p", "code": code}
    return lambda _: httpx.Response(status, json={"error": error}, headers=headers)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "unsupported_parameter", RequestRefused),
        (500, "internal_error", AnswerError),
        (502, "engine_error", EngineFailed),
        (502, "stage_output_invalid", PipelineFailed),
        (503, "engine_starting", EngineStarting),
        (503, "engine_not_running", EngineFailed),
        (503, "overloaded", Overloaded),
        (504, "timeout", TimedOut),
        (404, "model_not_found", AdapterNotLoaded),
        (503, "adapter_not_loaded", AdapterNotLoaded),
    ],
)
def test_each_answer_has_its_exception(status: int, code: str, expected: type[ClientError]) -> None:
    manager = ModelManager(network(refused(status, code, **{"retry-after": "7", "x-request-id": "abc"})))
    with manager.use_model("naming") as model, pytest.raises(expected) as told:
        model.generate_text("p")
    assert type(told.value) is expected
    assert isinstance(told.value, LoraGatewayError)
    if isinstance(told.value, AnswerError):
        assert (told.value.status, told.value.code, told.value.param) == (status, code, "p")
        assert (told.value.retry_after_s, told.value.request_id) == (7, "abc")
        assert str(told.value).startswith("It says so.")


def test_adapter_that_the_engine_does_not_have_says_so() -> None:
    manager = ModelManager(network(by_hand, [*MODELS[:2], MODELS[2] | {"root": None}]))
    with pytest.raises(AdapterNotLoaded, match="its path was configured, but the engine does not have it"):
        manager.use_model("naming").__enter__()
    cold = [one | {"root": None} for one in MODELS]
    with ModelManager(network(lambda _: said("x"), cold)).use_model("naming") as model:
        assert model.generate_text("p") == "x"  # the request itself waits for the engine
        assert model.list_adapters() == []


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [
        ("engine_error", "engine_error", EngineFailed),
        ("engine_error", "stage_output_invalid", PipelineFailed),
        ("invalid_request_error", "fan_out_exceeded", RequestRefused),
        ("service_unavailable", "overloaded", Overloaded),
        ("rate_limit_error", "rate_limit_exceeded", RateLimited),
        ("timeout", "deadline_exceeded", TimedOut),
    ],
)
def test_an_error_within_a_stream_has_the_same_exception(
    kind: str, code: str, expected: type[ClientError]
) -> None:
    event = json.dumps({"error": {"message": "It says so.", "type": kind, "param": None, "code": code}})
    answer = httpx.Response(200, content=f"data: {event}\n\n".encode(), headers={"x-request-id": "abc"})
    manager = ModelManager(network(lambda _: answer))
    with manager.use_model("naming") as model, pytest.raises(expected) as told:
        list(model.stream_text("p"))
    assert type(told.value) is expected
    assert isinstance(told.value, AnswerError)
    assert told.value.request_id == "abc"


@pytest.mark.parametrize(
    "error",
    [
        NotConfigured(),
        InvalidArgument("n", "is none"),
        AdapterNotLoaded("a", ["b"]),
        ConnectionLost("u", "r"),
        StackFailed("r", Path("log")),
        OutputInvalid("m", "t", "p", None),
        RateLimited(429, "m", code="c", retry_after_s=7),
    ],
)
def test_errors_pass_between_processes(error: ClientError) -> None:
    """As a pool of processes hands them on: one that cannot be read there ends the pool, or hangs it."""
    came = pickle.loads(pickle.dumps(error))
    assert (type(came), str(came), vars(came)) == (type(error), str(error), vars(error))
