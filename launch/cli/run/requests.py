"""`lora-gateway run`: every line asked of the gateway, so many at a time, and again where that may help."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import httpx

from gateway.config.loopback import may_use_proxy
from gateway.errors import NOT_JSON, ConfigError
from gateway.upkeep import end_tasks
from launch.cli.run.input_lines import LineRequest
from launch.cli.run.results import LineOutcome, answered, unanswered

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 900.0
"""A request may have to wait for an engine that starts."""
BUSY = frozenset({429, 503})
"""Nothing was run: asked again by Retry-After, for as long as there are attempts."""
FAULTY = frozenset({500, 502, 504})
FAULTY_ATTEMPTS = 3
"""A request that breaks its engine must not do so for ever."""
MOST_PAUSE_S = 60.0

Sleep = Callable[[float], Awaitable[None]]


class Gateway:
    """One gateway and the key for it."""

    def __init__(
        self,
        url: str,
        key: str | None,
        concurrency: int,
        attempts: int,
        *,
        sleep: Sleep = asyncio.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self._concurrency = concurrency
        self._attempts = attempts
        self._sleep = sleep
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            # httpx has 100 at most by itself, and keeps 20 of them.
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            transport=transport,
            trust_env=may_use_proxy(url),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def check(self, model: str) -> None:
        """Whether the model is there and may be called. Raises ConfigError."""
        try:
            answer = await self._client.get(f"/v1/models/{model}")
        except httpx.HTTPError as error:
            mend = (
                f"no gateway answers there ({_said(error)}); start one with lora-gateway up, or name another"
            )
            raise ConfigError("--url", self.url, mend) from error
        if answer.status_code == 200:
            return
        message = _message(answer)
        if answer.status_code == 401:
            mend = f"{message} Set LORA_GATEWAY_API_KEY or OPENAI_API_KEY."
            raise ConfigError("key", "", mend)
        raise ConfigError("MODEL", model, message)

    async def outcomes(
        self, requests: Iterable[LineRequest]
    ) -> AsyncIterator[tuple[LineRequest, LineOutcome]]:
        """What comes of each, in the order of coming; `requests` are taken no sooner than they are asked."""
        coming = iter(requests)
        running: set[asyncio.Task[tuple[LineRequest, LineOutcome]]] = set()
        try:
            while True:
                while len(running) < self._concurrency and (request := next(coming, None)) is not None:
                    running.add(asyncio.create_task(self._outcome(request)))
                if not running:
                    return
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            await end_tasks(running)

    async def _outcome(self, request: LineRequest) -> tuple[LineRequest, LineOutcome]:
        attempt = 0
        while True:
            attempt += 1
            pause_s = 0.0
            try:
                answer = await self._client.post(
                    request.path, content=request.body, headers={"content-type": "application/json"}
                )
            except httpx.HTTPError as error:
                outcome, most = unanswered(request, f"no answer: {_said(error)}"), self._attempts
            else:
                outcome = answered(request, answer.status_code, answer.content)
                if answer.status_code in FAULTY:
                    most = min(FAULTY_ATTEMPTS, self._attempts)
                elif answer.status_code in BUSY:
                    most = self._attempts
                    pause_s = _retry_after_s(answer)
                else:
                    most = 0
            if attempt >= most:
                return request, outcome
            await self._sleep(_spread(min(MOST_PAUSE_S, max(pause_s, 2.0 ** min(attempt - 1, 10)))))


def _retry_after_s(answer: httpx.Response) -> float:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _spread(longest_s: float) -> float:
    """So that many who were refused together do not come back together."""
    return longest_s * random.uniform(1.0, 1.25)


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (*NOT_JSON, KeyError, TypeError):
        return f"the gateway answers {answer.status_code}"


def _said(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
