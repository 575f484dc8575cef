"""One engine as the gateway sees it, and what the gateway itself asks it."""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec

from gateway.admission.engine_bound import EngineBound
from gateway.config.engine_settings import server_of
from gateway.config.snapshot import EngineStatus
from gateway.errors import RequestError
from gateway.http.engine_connection import Address
from gateway.http.engine_pool import Upstream
from gateway.routing.selection.speed import Speed
from gateway.routing.selection.visits import Visits

EJECTED_S = 1.0
LONGEST_EJECTED_S = 30.0
PROBE_S = 30.0
MOST_FETCHED_BYTES = 64 * 1024 * 1024
"""Of an answer to the gateway itself: an engine that somebody else runs says how long it is."""


class EngineModel(msgspec.Struct, gc=False):
    """One entry of the engine's own model list, which may have thousands."""

    id: str
    max_model_len: int | None = None
    created: int | float | None = None


class _List(msgspec.Struct):
    data: list[EngineModel]


@dataclass(slots=True, eq=False)
class Replica:
    """A ready engine, or one that is on its way out."""

    name: str
    upstream: Upstream
    status: EngineStatus
    loaded: frozenset[str] = frozenset()
    models: Mapping[str, EngineModel] = field(default_factory=lambda: MappingProxyType({}))
    failures: int = 0
    """Rests in a row without an answer between them."""
    ejected_until: float = 0.0
    bound: EngineBound = field(default_factory=lambda: EngineBound(sys.maxsize))
    """How many requests it takes, as far as its load has been seen."""
    load_known: bool | None = None
    """Whether it tells its load; None before it was asked."""
    visits: Visits = field(default_factory=Visits)
    speed: Speed = field(default_factory=Speed)
    seed: int = 0
    """For `candidates.home_of`; it hangs on the name alone."""

    def __post_init__(self) -> None:
        self.seed = zlib.crc32(self.name.encode())

    @property
    def tokens_per_s(self) -> float:
        """What it has been seen to do; 0 where that is not known."""
        return self.speed.tokens_per_s

    def in_flight(self, now: float) -> int:
        """Its requests, with those of other gateways that it had when it was asked last."""
        return self.upstream.open_connections + self.speed.others(now)

    def same(self, engine: EngineStatus) -> bool:
        """Whether it is still that process at that place."""
        status = self.status
        return (status.url, status.started_at, status.pid) == (engine.url, engine.started_at, engine.pid)

    def failed(self) -> None:
        """It did not answer: others are asked first for a while, each time for longer."""
        now = time.monotonic()
        if now < self.ejected_until:
            return  # of the requests that it let down together, the first has said so
        # The power has a bound too: 2.0 ** 1024 is no float any more, and would be a fault of ours.
        self.ejected_until = now + min(EJECTED_S * 2 ** min(self.failures, 16), LONGEST_EJECTED_S)
        self.failures += 1

    def answered(self) -> None:
        """The engine has answered: its failures are forgotten, and it is ejected no longer."""
        self.failures = 0
        self.ejected_until = 0.0

    async def completes(self, base: str) -> bool:
        """Whether a real completion on the base works now."""
        body = json.dumps({"model": base, "prompt": "1", "max_tokens": 1, "temperature": 0})
        try:
            status, _ = await fetch(self.upstream, b"/v1/completions", body.encode())
        except RequestError:
            return False
        return status == 200

    async def describe(self) -> None:
        """Ask what `/v1/models` says beside the names; nothing is routed by it.

        Raises RequestError, ValueError, RecursionError where it says nothing of use.
        """
        status, body = await fetch(self.upstream, b"/v1/models")
        self.models = MappingProxyType(_models(status, body))


def address_of(url: str) -> Address:
    """`http://host:port` or `unix:/path`. Raises ValueError where it is neither."""
    if url.startswith("unix:"):
        return Address(uds=url.removeprefix("unix:"))
    host, port = server_of(url)
    return Address(host=host, port=port)


def _models(status: int, body: bytes) -> dict[str, EngineModel]:
    """What the engine lists. Raises `NOT_JSON` where it is no such list."""
    if status != 200:
        raise ValueError(f"status {status}")
    return {model.id: model for model in msgspec.json.decode(body, type=_List).data}


async def fetch(upstream: Upstream, path: bytes, body: bytes | None = None) -> tuple[int, bytes]:
    """The engine's own answer to a question of the gateway's; with a body it is posted.

    Raises EngineError, GatewayTimeout.
    """
    if body is None:
        connection = await upstream.get(path)
    else:
        connection = await upstream.exchange(path, (body,), b"gateway-ready")
    try:
        return connection.status, await connection.whole(MOST_FETCHED_BYTES)
    finally:
        upstream.finish(connection)
