"""One request to the engine and its bytes back, as they come."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping

from gateway.admission.background import Background
from gateway.admission.death_guard import DeathGuard
from gateway.admission.limits import Admission
from gateway.admission.quotas.quotas import ANSWER_TOKENS, BYTES_PER_TOKEN
from gateway.errors import EngineError, GatewayTimeout, RequestError
from gateway.http.engine_connection import (
    Connection,
    ConnectTimeout,
    Disconnected,
    Owner,
    Segments,
    Unreachable,
)
from gateway.relay.engine_answers import NothingDone, fault_in, read_failure
from gateway.relay.request_record import Exchange
from gateway.routing.replica import Replica
from gateway.routing.replicas import Replicas
from gateway.routing.table import Route
from gateway.traces.trace import Tracer

logger = logging.getLogger("gateway.relay.relay")

UNREACHABLE = "engine_unreachable"

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""A whole answer larger than this is not collected."""


class Relay:
    """Admission, the engine, and the way back."""

    def __init__(self, replicas: Replicas, admission: Admission, guard: DeathGuard) -> None:
        self.tracer: Tracer | None = None
        """Set while requests are traced."""
        self.replicas = replicas
        self.guard = guard
        self._admission = admission
        self.background = Background(admission)

    @contextlib.contextmanager
    def pinned(self, tasks: Iterable[str], sticky: bytes) -> Iterator[Mapping[str, Route]]:
        """The routes of several tasks as they are now; until the end none of their adapters is unloaded.

        Raises ModelNotFound.
        """
        table = self.replicas.table
        routes: dict[str, Route] = {}
        adapter_ids: set[str] = set()
        for task in tasks:
            route = table.find(task)
            routes[task] = route = route.pick(sticky) if route.versions else route
            if route.adapter_id:
                adapter_ids.add(route.adapter_id)
        with self._admission.hold(adapter_ids):
            yield routes

    async def begin(
        self,
        exchange: Exchange,
        route: Route,
        body: Segments,
        *,
        begun: bool = False,
        let_in: bool = False,
    ) -> Connection:
        """Admit a request and send it; its answer has begun. `end` must follow, and early it aborts it.

        `begun`: it is part of one that was let in before (`Replicas.pick`); `let_in`: with room for it.

        Raises TooManyRequests (429), Unavailable (503), EngineError (502), GatewayTimeout (504); then all is
        given back already.
        """
        exchange.route, exchange.let_in = route, let_in
        try:
            # A suspect may wait for long, so it does before it holds a place.
            if self.guard.watches():
                exchange.turn = await self.guard.admit(body, exchange.haste()[0])
            # An engine that is not there is no reason to wait for a place.
            replica: Replica | None = self.replicas.pick(route, exchange.prompt, begun=begun)
            self._admission.last_request_at = exchange.arrived
            if exchange.sequences > 1:
                exchange.places = self._admission.places(route.name, exchange.sequences)
            if not exchange.behind:
                exchange.gate = self._admission.try_enter(route.name, route.adapter_id, exchange.places)
            if exchange.gate is None:
                await self._enter(exchange, route, body)
                replica = None  # the wait may have outlived it
            if self.replicas.are_several:
                replica = self._seated(exchange, route) or replica
            if replica is None:
                replica = self.replicas.pick(route, exchange.prompt, begun=True)
            exchange.begin(route)
            return await self._send(exchange, route, replica, body)
        except BaseException:
            self._give_back(exchange)
            raise

    def _seated(self, exchange: Exchange, route: Route) -> Replica | None:
        """The engine where it has a slot, where that matters; before all else once it is let in."""
        exchange.seat = seat = self._admission.seat(route.adapter_id)
        return None if seat is None else self.replicas.seated(route, seat, exchange.prompt)

    def _visits(self, exchange: Exchange, route: Route, replica: Replica, body: Segments) -> None:
        """It goes there, of several engines."""
        if exchange.visit is not None:
            exchange.visit.end()
        tokens = exchange.cost or _cost_of(body, exchange.sequences)
        exchange.visit = replica.visits.begin(route.adapter_id or "", tokens)

    async def _enter(self, exchange: Exchange, route: Route, body: Segments) -> None:
        """Wait for its places. Raises TooManyRequests, Unavailable."""
        lacks_slot = self._admission.lacks_slot(route.adapter_id)
        waited_from = time.perf_counter()
        name, adapter_id, places = route.name, route.adapter_id, exchange.places
        if exchange.behind:
            await self.background.enter(name, adapter_id, places)
            exchange.beside = True
        else:
            cost = exchange.charged = exchange.cost or _cost_of(body, exchange.sequences)
            left_s, tokens = exchange.haste()
            exchange.gate = await self._admission.enter(
                name,
                adapter_id,
                places,
                key=exchange.key,
                tenant=exchange.tenant,
                cost=cost,
                let_in=exchange.let_in,
                left_s=left_s,
                tokens=tokens,
            )
        waited_s = time.perf_counter() - waited_from
        exchange.queue_s += waited_s
        if lacks_slot:
            exchange.waited_for_slot(waited_s)

    async def _send(self, exchange: Exchange, route: Route, replica: Replica, body: Segments) -> Connection:
        """To an engine that takes it: where one was sent nothing, or did nothing for it, another is asked."""
        tried: list[Replica] = []
        exchange.body = body
        while True:
            exchange.replica = replica.name
            if self.replicas.are_several:
                self._visits(exchange, route, replica, body)
            exchange.sent, exchange.engine_s = time.perf_counter(), 0.0
            try:
                more = exchange.trace.sent() if exchange.trace is not None else b""
                connection = await replica.upstream.exchange(
                    exchange.dialect.path, body, exchange.request_id, more
                )
            except (EngineError, GatewayTimeout) as error:
                self.failed(replica.upstream, error, exchange)
                tried.append(replica)
                unsent = error.code == UNREACHABLE or isinstance(error, ConnectTimeout)
                raced = isinstance(error, Unreachable) and error.raced
                if raced or isinstance(error, Disconnected):
                    self.guard.fell(replica.upstream.process, exchange.body, answered=False)
                if raced and exchange.turn is None:  # it may have ended this one: no other is ended by it now
                    exchange.turn = await self.guard.admit(body, exchange.haste()[0])
                other = self.replicas.other(route, tried) if unsent else None
                if other is None:
                    if unsent:
                        exchange.sent = 0.0  # no engine has read its prompt
                    raise
                replica = other
            else:
                exchange.status = connection.status
                # By these an adapter is lost or an engine ends (`NothingDone`), and another can be asked.
                if connection.status in (404, 500):
                    replica = await self._elsewhere(exchange, route, replica, connection, tried)
                    continue
                if replica.failures:
                    replica.answered()
                return connection

    async def _elsewhere(
        self, exchange: Exchange, route: Route, replica: Replica, connection: Connection, tried: list[Replica]
    ) -> Replica:
        """Another engine for a request that this one did nothing for: it ends, or has lost the adapter.

        Raises NothingDone where there is none, else what the client is told of the engine's answer.
        """
        undone = False
        try:
            fault = fault_in(connection, await read_failure(connection), exchange)
            undone = isinstance(fault, NothingDone)
        finally:
            if connection.status == 500 and not undone:
                self.guard.fell(connection.owner.process, exchange.body, answered=True)
            connection.owner.finish(connection)
        assert fault is not None
        if not isinstance(fault, NothingDone):
            replica.answered()
            raise fault
        self.failed(replica.upstream, fault, exchange)
        tried.append(replica)
        other = self.replicas.other(route, tried)
        if other is None:
            raise fault
        return other

    def lost(self, exchange: Exchange, upstream: Owner, error: NothingDone) -> bool:
        """An engine has done nothing for a request; whether another one can be asked."""
        self.failed(upstream, error, exchange)
        tried = [one for one in self.replicas.ready if one.upstream is upstream]
        return exchange.route is not None and self.replicas.other(exchange.route, tried) is not None

    def failed(self, upstream: Owner, error: RequestError, exchange: Exchange) -> None:
        """An exchange ended before its answer had begun: others are asked first for a while."""
        request_id, why = exchange.request_id.decode(), error.__cause__ or ""
        logger.warning("request %s: %s: %s %s", request_id, exchange.replica, error.message, why)
        nobody = isinstance(error.__cause__, (ConnectionRefusedError, FileNotFoundError))
        self.replicas.failed(upstream, gone=nobody)

    def try_begin(self, exchange: Exchange, route: Route, body: Segments) -> Connection | None:
        """As `begin`, but only where nothing has to be waited for, else None; the answer is yet to come.

        Raises Unavailable (503).
        """
        replica = self.replicas.pick(route, exchange.prompt)
        if replica.failures:
            return None  # `begin` sees whether it is well again
        if self.guard.watches() and self.guard.verdict(body) != "free":
            return None
        if exchange.sequences > 1:
            exchange.places = self._admission.places(route.name, exchange.sequences)
        gate = self._admission.try_enter(route.name, route.adapter_id, exchange.places)
        if gate is None:
            return None
        connection: Connection | None = None
        if exchange.route is not route:
            exchange.route = route
        exchange.gate, exchange.body = gate, body
        try:
            if self.replicas.are_several:
                replica = self._seated(exchange, route) or replica
                if replica.failures:
                    self._give_back(exchange)
                    return None
                self._visits(exchange, route, replica, body)
            more = exchange.trace.sent() if exchange.trace is not None else b""
            connection = replica.upstream.try_exchange(exchange.dialect.path, body, exchange.request_id, more)
            if connection is None:
                if exchange.trace is not None:
                    exchange.trace.unsent()
                self._give_back(exchange)
                return None
            if exchange.end_by < math.inf:  # a task has `patience.in_time` for that
                connection.end_in(exchange.end_by - time.perf_counter())
            exchange.begin(route)
        except BaseException:
            if connection is not None:
                connection.owner.finish(connection)
            self._give_back(exchange)
            raise
        self._admission.last_request_at = exchange.arrived
        exchange.replica = replica.name
        exchange.sent = time.perf_counter()
        return connection

    def end(self, exchange: Exchange, connection: Connection) -> None:
        """Give connection and place back; an answer that is not complete is aborted in the engine."""
        try:
            # What its end says of the engine: it may have died of this request, or has borne it.
            # A 503 is an engine's overload, not its death.
            failed = exchange.broken or (connection.status >= 500 and connection.status != 503)
            if exchange.undone:  # it was not begun, and says nothing of the engine
                pass
            elif failed or isinstance(connection.error, Disconnected):
                self.guard.fell(connection.owner.process, exchange.body, answered=failed)
            elif exchange.turn is not None and connection.complete and connection.error is None:
                self.guard.answered(exchange.turn.digest)
            connection.owner.finish(connection)
        finally:
            self._give_back(exchange)

    def _give_back(self, exchange: Exchange) -> None:
        if exchange.turn is not None:
            turn, exchange.turn = exchange.turn, None
            turn.give_back()
        gate, exchange.gate = exchange.gate, None
        adapter_id = exchange.route.adapter_id if exchange.route else None
        seat, usage = exchange.seat, exchange.usage
        if seat is not None:
            exchange.seat = None
        if exchange.visit is not None:
            exchange.visit.end()
            exchange.visit = None
            if usage is not None:
                self.replicas.tokens[adapter_id or ""] += usage.prompt_tokens + (usage.completion_tokens or 0)
        if gate is not None:
            exchange.release()
            if usage is not None:
                tokens = usage.completion_tokens or 0
                self._admission.ended(gate, time.perf_counter() - exchange.sent, tokens)
                if exchange.charged:
                    used = usage.prompt_tokens + tokens
                    unused = exchange.charged - used
                    self._admission.settle(
                        exchange.tenant, exchange.key, gate.task, unused, let_in=exchange.let_in
                    )
            elif exchange.sent and exchange.is_late():
                seconds = time.perf_counter() - exchange.sent
                self._admission.ended_late(gate, seconds, exchange.answer_tokens, exchange.given_s())
            # Last: it chooses who is next, by what was settled just now.
            self._admission.leave(gate, adapter_id, exchange.places, seat)
        elif exchange.beside:
            exchange.beside = False
            exchange.release()
            self.background.leave(adapter_id, exchange.places, seat)


def _cost_of(body: Segments, sequences: int) -> int:
    """Tokens, where nothing says how long an answer may be: as limits of tokens count it."""
    return sum(map(len, body)) // BYTES_PER_TOKEN + sequences * ANSWER_TOKENS
