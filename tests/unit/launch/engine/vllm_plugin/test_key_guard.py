"""The engine's key on every route of the engine's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from launch.engine.vllm_plugin.key_guard import KeyGuard


def asked(path: str, *, key: str = "k", sent: str | None = None, kind: str = "http") -> int:
    """The status that comes; 0 where the engine itself was reached."""
    seen: list[int] = []

    async def engine(scope: Any, receive: Any, send: Any) -> None:
        seen.append(0)

    async def send(message: Any) -> None:
        if message["type"].endswith("response.start"):
            seen.append(message["status"])

    async def receive() -> Any:
        return {"type": "http.request"}

    headers = [] if sent is None else [(b"authorization", sent.encode())]
    scope = {"type": kind, "path": path, "headers": headers}
    asyncio.run(KeyGuard(engine, key)(scope, receive, send))
    (status,) = seen
    return status


@pytest.mark.parametrize(
    "path", ["/v1/models", "/tokenize", "/invocations", "/pause", "/collective_rpc", "/", "/health/"]
)
def test_every_route_asks_for_the_key(path: str) -> None:
    assert asked(path) == 401
    assert asked(path, sent="Bearer other") == 401
    assert asked(path, sent="Basic k") == 401
    assert asked(path, sent="Bearer k") == 0
    assert asked(path, sent="bearer k") == 0


@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_liveness_and_numbers_are_open(path: str) -> None:
    assert asked(path) == 0


def test_a_socket_asks_for_it_too() -> None:
    assert asked("/v1/realtime", kind="websocket") == 401
    assert asked("", kind="lifespan") == 0


def test_without_a_key_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked("/v1/models", key="") == 0
