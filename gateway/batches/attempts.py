"""One line asked as often as it takes: what is tried again, when, and what is the line's own error."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

import msgspec

from gateway.admission.api_keys import Keys
from gateway.batches.engines import Engines
from gateway.batches.in_process import Answered, Ask, TooLarge
from gateway.batches.input_lines import RequestLine
from gateway.batches.records import WINDOW_S
from gateway.errors import NOT_JSON, EngineError, EngineKilled, InvalidRequest, RequestError

logger = logging.getLogger("gateway.batches")

MOST_ATTEMPTS = 5
"""Of a line that an engine was there for."""
FIRST_PAUSE_S = 1.0
MOST_PAUSE_S = 30.0
AGAIN = frozenset({408, 429, 500, 502, 503, 504})
NO_ENGINE = frozenset(
    {"engine_starting", "engine_not_running", "engine_unreachable", "overloaded", "limits_not_counted"}
)
"""Codes of errors that say nothing about the line: it was not run, and these attempts do not count, nor do
those that a limit of its key's refused (429): a batch has a day for what may be asked in a minute."""

STREAMED = InvalidRequest(
    "A batch has no streams; leave 'stream' out.", param="stream", code="unsupported_parameter"
)
TOO_LARGE = EngineError("The answer is too large to be kept.", code="answer_too_large")

Sleep = Callable[[float], Awaitable[None]]


class _Error(msgspec.Struct):
    code: str | int | None = None


class _Envelope(msgspec.Struct):
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Envelope).decode


class Attempts:
    """Asks the endpoints for lines."""

    def __init__(self, ask: Ask, keys: Keys, engines: Engines, sleep: Sleep = asyncio.sleep) -> None:
        self._ask = ask
        self._keys = keys
        self._engines = engines
        self.sleep = sleep

    async def answer(self, path: str, line: RequestLine, owner: str, request_id: str) -> Answered:
        """The answer, good or the line's error; cancelling it aborts the request in the engine."""
        if line.streamed:
            return _failed(STREAMED, request_id)
        counted = tries = 0
        while True:
            try:
                # Waited for here: else every line would ask and be refused each few seconds of a start.
                await self._engines.until_servable(line.model)
                # Looked up each time: a key may be revoked, or be permitted other models, meanwhile.
                principal = self._keys.named(owner)
            except RequestError as error:
                return _failed(error, request_id)
            try:
                answer = await self._ask(path, line.body, principal, request_id, line.fields)
            except TooLarge:
                return _failed(TOO_LARGE, request_id)
            # Of this line alone: raised, it would end the task group and with it every other line.
            except Exception:
                logger.exception("batch request %s failed", request_id)
                answer = _failed(EngineError("The gateway failed on this request.", status=500), request_id)
            # What has ended two engines is not sent again, though any other 500 is (design 51).
            if answer.status not in AGAIN or _code(answer) == EngineKilled.code:
                return answer
            if (answer.retry_after_s or 0) > WINDOW_S:  # a month's budget; no batch lasts until there is more
                return answer
            tries += 1
            counted += answer.status != 429 and _code(answer) not in NO_ENGINE
            if counted == MOST_ATTEMPTS:
                return answer
            await self.sleep(_pause_s(tries, answer.retry_after_s))


def _failed(error: RequestError, request_id: str) -> Answered:
    return Answered(error.status, msgspec.json.encode(error.envelope), request_id, None)


def _code(answer: Answered) -> str | int | None:
    try:
        envelope = _decode(answer.body)
    except NOT_JSON:
        return None
    return envelope.error.code if envelope.error else None


def _pause_s(tries: int, retry_after_s: float | None) -> float:
    """Doubling, spread by chance so that lines do not come back together."""
    # A batch tries for up to a day: the count is bounded, or the shift would make an ever longer number.
    longest = min(MOST_PAUSE_S, max(retry_after_s or 0.0, FIRST_PAUSE_S * float(1 << min(tries, 10) - 1)))
    return longest * random.uniform(0.5, 1.0)
