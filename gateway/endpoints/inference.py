"""The routes that lead to the engine: the hot path, as plain ASGI."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial

import msgspec
from starlette.types import Receive, Scope, Send

from gateway.admission.api_keys import CALLER, Caller, Keys, Principal
from gateway.admission.body_lease import FREE_BELOW_BYTES, BodyLease
from gateway.admission.byte_budget import ByteBudget
from gateway.admission.isolation.cache_salts import CacheSalts
from gateway.admission.quotas.quotas import BYTES_PER_TOKEN, Quotas
from gateway.admission.quotas.refusals import TooMany
from gateway.admission.refused_keys import RefusedKeys
from gateway.config.document import FallbackReason, GatewayConfig
from gateway.config.origins import Headers
from gateway.dialects.cost.answer_length import answer_tokens
from gateway.dialects.cost.grammars import HOLDERS
from gateway.dialects.cost.sequences import sequences_of
from gateway.dialects.dialect import Dialect
from gateway.dialects.parameters import Limits
from gateway.dialects.prompt_scores import check_scoring
from gateway.dialects.request_body import Buffer, Fields, decode_body, flag_field, with_model
from gateway.endpoints.asgi import (
    MAPPED_FROM_BYTES,
    ClientLeft,
    Head,
    check_before_body,
    check_size,
    check_type,
    is_let_in,
    read_head,
    read_json_body,
    send_error,
)
from gateway.endpoints.azure import DEPLOYMENT
from gateway.endpoints.pipelines import PipelineEndpoint, as_a_pipeline_says, not_of_a_pipeline
from gateway.errors import EngineError, InvalidRequest, RequestError, internal_error
from gateway.grammar_trial.trials import GrammarTrials
from gateway.http.request_cycle import Cycle
from gateway.metrics.counters import Metrics
from gateway.relay.client_side import error_answer, send_last_event, until_client_leaves
from gateway.relay.direct import DirectRelay
from gateway.relay.fallback.fallbacks import Fallbacks
from gateway.relay.heartbeat import Heartbeat
from gateway.relay.in_task import TaskRelay
from gateway.relay.incoming import CheckedCall, Incoming, found_in
from gateway.relay.patience import in_time, take_patience
from gateway.relay.relay import UNREACHABLE, Relay
from gateway.relay.request_record import BATCH, LOW_PRIORITY, Exchange
from gateway.relay.shadow.copies import Shadow
from gateway.relay.shadow.copy import Copy, Watched
from gateway.routing.cold_start import WaitingRoom
from gateway.routing.permission import permitted_route

logger = logging.getLogger("gateway.engine")


class EngineEndpoint:
    """One route to the engine. What its API has of its own stands in `dialect`."""

    def __init__(
        self,
        dialect: Dialect,
        keys: Keys,
        quotas: Quotas,
        relay: Relay,
        pipelines: PipelineEndpoint,
        bounds: GatewayConfig,
        limits: Limits,
        metrics: Metrics,
        room: WaitingRoom,
        shadow: Shadow,
        fallbacks: Fallbacks,
        bodies: ByteBudget,
        trials: GrammarTrials,
        salts: CacheSalts,
        refused: RefusedKeys,
    ) -> None:
        self._bodies, self._trials, self._salts, self._refused = bodies, trials, salts, refused
        self._fallbacks, self._room, self._shadow = fallbacks, room, shadow
        self._relay, self._pipelines, self._metrics = relay, pipelines, metrics
        self._dialect, self._principal, self._quotas = dialect, keys.principal, quotas
        self.lets_in = partial(is_let_in, keys, bounds.max_body_bytes)
        self._bounds, self._limits, self._most_bytes = bounds, limits, bounds.max_body_bytes
        self._salted = "cache_salt" in dialect.passed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller | None = scope.get(CALLER)
        request, head = found_in(scope) if caller is None else None, None
        if caller is not None:
            exchange = self._exchange(caller.request_id, (), caller.origin)
            request = Incoming(exchange, caller.fields, caller.principal, caller.body)
        elif request is None:
            head = Head(scope["headers"])
            request = Incoming(self._exchange(head.request_id, scope["headers"], progress=head.progress))
        exchange = request.exchange
        try:
            if caller is not None:
                check_size(len(caller.body), self._most_bytes)
                await self._by_the_engine(request, send)  # by no fallback: it has time to wait
                return
            if head is not None:
                await self._read(request, head, scope, receive)
            elif len(request.body) >= FREE_BELOW_BYTES:
                await self._lease(request).take(len(request.body))
            answer = in_time(exchange, partial(self._answer, request), send)
            if not await until_client_leaves(answer, scope, receive):
                exchange.cancelled()
        except (ClientLeft, asyncio.CancelledError) as end:
            exchange.cancelled()
            if not isinstance(end, ClientLeft):  # of a batch that is broken off, or at the server's own end
                raise
        except RequestError as error:
            self._count(exchange, error)
            if exchange.begun:
                error_body = self._dialect.error_body(error, exchange.request_id)
                await send_last_event(send, self._dialect, error_body)
            else:
                await send_error(send, error, exchange.request_id, self._dialect, cold=exchange.cold)
        except Exception:
            exchange.failed(internal_error())
            raise
        finally:
            if request.lease is not None:
                request.lease.end()

    def _exchange(
        self, request_id: bytes, headers: Headers, origin: str = "client", *, progress: bool = False
    ) -> Exchange:
        exchange = Exchange(self._metrics, request_id, self._dialect, origin, origin == BATCH, progress)
        if self._relay.tracer is not None:
            exchange.trace = self._relay.tracer.begin(headers)
        return exchange

    async def _read(self, request: Incoming, head: Head, scope: Scope, receive: Receive) -> None:
        request.principal = self._principal(head.authorization, head.api_keys, scope.get("client"))
        check_before_body(request.exchange, head, request.principal)
        if DEPLOYMENT in scope:
            permitted_route(self._relay.replicas.table, request.principal, scope[DEPLOYMENT])
        body = await read_json_body(head, receive, self._bounds, self._lease(request))
        request.body = body = with_model(body, scope[DEPLOYMENT]) if DEPLOYMENT in scope else body
        if len(body) >= MAPPED_FROM_BYTES:
            request.fields = decode_body(body)
            await asyncio.sleep(0)  # others have their turn: each such step takes some ms of 10 MB

    def _lease(self, request: Incoming) -> BodyLease:
        # Half of the time that a request has to come: in the rest its bytes do, which are not read before.
        lease = BodyLease(self._bodies, request.principal.payer, self._bounds.receive_timeout_s / 2)
        request.lease = lease
        return lease

    def refuse(self, client: Cycle) -> bool:
        """Answer a request that its head alone rules out, before its body is here; whether it was one."""
        head, *_ = read_head(client)
        exchange = Exchange(self._metrics, head.request_id, self._dialect)
        try:
            client.head = head, self._principal(head.authorization, head.api_keys, client.peer, head.key)
            check_before_body(exchange, head, client.head[1])
            check_size(head.content_length or 0, self._most_bytes)
        except RequestError as fault:
            self._fail(exchange, fault, client)
            return True
        return False

    def serve(self, client: Cycle) -> bool:
        """Serve a whole request without a task where it need not wait; elsewhere False.

        Then its task finds what was found here (`Cycle.found`), and nothing is read twice.
        """
        head, principal, request_id = read_head(client)
        exchange = self._exchange(request_id, client.headers, progress=head.progress)
        try:
            if principal is None:  # as `check_before_body`, without a call where there is nothing to look at
                principal = self._principal(head.authorization, head.api_keys, client.peer, head.key)
                check_type(head)
            if head.patience:
                take_patience(exchange, head.patience)
            if principal.may_nothing:
                check_before_body(exchange, head, principal)
            check_size(len(client.body), self._most_bytes)
            if head.content_encoding:
                return False  # to unpack it may take a while
            body = bytes(client.body)
            call = self._call(exchange, principal, body)
            route = call.route
            copy: Copy | None = None
            at_once = route.adapter_id is not None and route.contract.fallback is None and not call.untried
            if route.kind != "pipeline" and at_once:
                try:
                    if self._quotas.bounded:
                        exchange.reservation = self._quotas.reserve(*self._wanted(exchange, principal, call))
                    copy = self._copy(exchange, call) if self._shadow.candidates else None
                    segments = call.segments(self._dialect)
                    watched = client if copy is None else Watched(client, copy)
                    way = DirectRelay(self._relay, exchange, call.usage_wanted, client=watched)
                    if way.start(route, segments):
                        return True
                except TooMany as full:  # where it may wait, it does so in its task
                    if not full.may_wait:
                        raise
            client.hand_over(Incoming(exchange, principal=principal, body=body, call=call, copy=copy))
            return False
        except RequestError as fault:
            self._fail(exchange, fault, client)
        except Exception:
            logger.exception("POST %s failed", self._dialect.path.decode())
            self._fail(exchange, internal_error(), client)
        return True

    def _count(self, exchange: Exchange, error: RequestError) -> None:
        exchange.failed(error)
        if exchange.route is not None and not exchange.behind:  # else nobody's that is known, or a batch's
            self._refused.count(exchange.key, error)

    def _fail(self, exchange: Exchange, fault: RequestError, client: Cycle) -> None:
        self._count(exchange, fault)
        status, headers, body = error_answer(fault, exchange.request_id, self._dialect)
        client.begin(status, headers)
        client.write(body, False)

    async def _answer(self, request: Incoming, send: Send) -> None:
        exchange = request.exchange
        try:
            await self._by_the_engine(request, send)
        except RequestError as error:
            if isinstance(error, TooMany):
                raise  # another model would not make its key's limit any larger
            if exchange.begun or exchange.route is None or exchange.route.contract.fallback is None:
                raise  # once the head of the answer is out, it could not say whose words follow
            call = self._unwritten(request)
            usage_wanted = call.streaming and self._dialect.ask_for_usage(call.fields)
            how = {"streaming": call.streaming, "usage_wanted": usage_wanted}
            await self._fallbacks.answer(error, exchange, call.route, call.fields, **how, send=send)

    async def _by_the_engine(self, request: Incoming, send: Send) -> None:
        """Raises RequestError only before the first byte of an answer went out."""
        exchange = request.exchange
        call, principal = self._current(request), request.principal
        if len(request.body) >= MAPPED_FROM_BYTES:
            await asyncio.sleep(0)  # as in `_read`: it was decoded once more
            call = self._current(request)
        if self._quotas.bounded and exchange.reservation is None:
            wanted = self._wanted(exchange, principal, call)
            if exchange.behind:  # else it would hold its key's limits while it waits behind others' clients
                await self._relay.background.until_room(call.route.name)
            exchange.reservation = await self._quotas.admitted(*wanted, behind=exchange.behind)
            call = self._current(request)  # it may have waited
        if not self._relay.replicas.servable(call.asked):
            await self._wait(request, send)
            call = self._anew(request)  # by the table of now
        route = call.route
        if route.kind == "pipeline":
            sticky = call.sticky or exchange.request_id
            await self._pipelines.answer(
                exchange, route, call.fields, call.streaming, sticky, send, strict=self._limits.strict
            )
            return
        if call.untried:
            await self._trials.try_all(principal.name, call.untried)
            call = self._current(request)
            route = call.route
        *_, prompt_bytes, tokens = self._wanted(exchange, principal, call)
        exchange.cost = max(1, prompt_bytes // BYTES_PER_TOKEN + tokens)
        exchange.streaming, exchange.answer_tokens = call.streaming, tokens
        copy = request.copy
        if not call.written:  # else it was chosen before the contract was written into its fields
            copy = self._copy(exchange, call) if self._shadow.candidates else None
        segments, usage_wanted = call.segments(self._dialect), call.usage_wanted
        request.call = request.copy = None
        del call  # what the segments refer to is kept by them, the rest need not be
        out = send if copy is None else copy.passing(send)
        try:
            await TaskRelay(self._relay, exchange, usage_wanted).run(route, segments, out)
        except EngineError as error:
            if error.code != UNREACHABLE or self._goes_elsewhere(request, "failed"):
                raise
            if not await self._room.may_come_back(self._current(request).asked):
                raise
        else:
            return
        finally:
            if copy is not None:
                copy.over()
        # The engine has just died, and nothing was sent to it: this one waits for its restart like any other.
        await self._wait(request, send)
        call = self._anew(request)
        segments = call.segments(self._dialect)
        await TaskRelay(self._relay, exchange, call.usage_wanted).run(call.route, segments, send)

    def _anew(self, request: Incoming) -> CheckedCall:
        """Decoded and checked by the table of now. Raises RequestError."""
        request.call = call = self._call(request.exchange, request.principal, request.body, request.fields)
        return call

    def _current(self, request: Incoming) -> CheckedCall:
        """As it was checked before, where that table is still the one of now. Raises RequestError."""
        call = request.call
        return call if call and call.table is self._relay.replicas.table else self._anew(request)

    def _unwritten(self, request: Incoming) -> CheckedCall:
        """The same, with the client's own fields. Raises RequestError."""
        call = self._current(request)
        return self._anew(request) if call.written else call

    def _wanted(
        self, exchange: Exchange, principal: Principal, call: CheckedCall
    ) -> tuple[str, str, int, int]:
        """For `Quotas.reserve`: whose request, for what, bytes of its prompt, tokens of its answers."""
        if not self._dialect.generates:
            return principal.name, call.route.name, 0, 0  # embeddings are settled by what the engine counts
        tokens = answer_tokens(call.fields, call.route.contract.defaults)
        prompt = call.fields.get(self._dialect.prompt) if self._dialect.prompt else None
        prompt_bytes = call.received_bytes if prompt is None else len(memoryview(prompt))
        return principal.name, call.route.name, prompt_bytes, tokens * exchange.sequences

    def _copy(self, exchange: Exchange, call: CheckedCall) -> Copy | None:
        """For the task's candidate, where it has one and this request is among its share."""
        if self._relay.guard.is_unsure:
            return None
        return self._shadow.choose(exchange, call.route, call.fields, call.received_bytes, call.streaming)

    def _goes_elsewhere(self, request: Incoming, reason: FallbackReason) -> bool:
        """Whether the task's fallback is for this, and can take the request."""
        call, exchange = self._unwritten(request), request.exchange
        fallback = call.route.contract.fallback
        if fallback is None or reason not in fallback.when or exchange.begun or exchange.behind:
            return False
        return self._fallbacks.takes(self._dialect, call.route, call.fields)

    async def _wait(self, request: Incoming, send: Send) -> None:
        """Until there is an engine; where a fallback would take the request, no longer than that says."""
        call, exchange = self._unwritten(request), request.exchange
        name, fallback = call.asked, call.route.contract.fallback
        if fallback is not None and self._goes_elsewhere(request, "cold"):
            # The engine is asked for all the same: the next requests are to be its own.
            try:
                async with asyncio.timeout(fallback.after_s):
                    await self._room.wait(exchange, name, None)
            except TimeoutError:
                raise self._relay.replicas.unavailable(call.route) from None
            return
        beat = Heartbeat(self._relay.replicas, exchange, send) if call.streaming else None
        await self._room.wait(exchange, name, beat)

    def _length(self, fields: Fields) -> tuple[str, int] | None:
        """As `Exchange.length`."""
        context = None if self._limits.strict else self._limits.context_tokens()
        if context is None:
            return None
        asked = self._dialect.length_of(fields)
        return (asked[0], context - asked[1]) if asked else None

    def _call(
        self,
        exchange: Exchange,
        principal: Principal,
        body: Buffer,
        decoded: Mapping[str, msgspec.Raw] | None = None,
    ) -> CheckedCall:
        dialect, replicas = self._dialect, self._relay.replicas
        fields = decode_body(body) if decoded is None else {**decoded}
        model = dialect.model_of(fields, replicas.base_name)
        table = replicas.table
        route = permitted_route(table, principal, model)
        # Before what may refuse it: an error is counted under its model and its key.
        exchange.route, exchange.key, exchange.tenant = route, principal.name, principal.tenant
        exchange.prompt = fields.get(dialect.prompt)
        try:
            exchange.ignored = dialect.check_fields(fields, self._limits, route.contract)
        except InvalidRequest as fault:
            raise as_a_pipeline_says(route, fault) from None
        exchange.length = self._length(fields) if route.kind != "pipeline" else None
        if self._salted:
            salt = self._salts.salt_for(principal, fields.get("cache_salt"))
            if salt is not None:
                fields["cache_salt"] = salt
        defaults = route.contract.defaults
        if "n" in fields or dialect.listed in fields or "n" in defaults:
            own = defaults if "n" in dialect.passed else {}
            exchange.sequences = sequences_of(fields, dialect.listed, own, self._limits.max_sequences)
        if not replicas.scores_prompts:
            check_scoring(fields, defaults)
        if exchange.behind and replicas.priorities and route.kind != "pipeline":
            dialect.give_priority(fields, LOW_PRIORITY)
        sticky = None
        if route.versions or route.kind == "pipeline":
            if route.kind == "pipeline" and not dialect.generates:
                raise not_of_a_pipeline(route, dialect)
            sticky = dialect.sticky_of(fields) or principal.name.encode() or None
            route = exchange.route = route.pick(sticky)
        call = CheckedCall(model, route, fields, flag_field(fields, "stream"), len(body), sticky, table)
        if not HOLDERS.isdisjoint(fields):
            call.untried = self._trials.untried(exchange, fields)
        return call
