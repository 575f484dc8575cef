"""A gateway's streamed chat, piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from gateway.config.loopback import may_use_proxy
from gateway.errors import NOT_JSON, ConfigError, LoraGatewayError

CONNECT_TIMEOUT_S = 10.0
SILENCE_S = 600.0
"""A request may have to wait for an engine that starts."""

Message = dict[str, str]


class ChatFailed(LoraGatewayError):
    """One answer that did not come, or not whole; the talk goes on."""


class ChatClient:
    """A gateway, asked over HTTP; used by one thread, and closed at the end."""

    def __init__(self, url: str, key: str | None, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url
        self._client = httpx.Client(
            base_url=url,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_TIMEOUT_S),
            transport=transport,
            trust_env=may_use_proxy(url),
        )

    def close(self) -> None:
        self._client.close()

    def models(self) -> list[str]:
        """What this key may ask for. Raises ConfigError."""
        try:
            answer = self._client.get("/v1/models")
        except httpx.HTTPError as error:
            mend = (
                f"no gateway answers there ({_why(error)}); start one with lora-gateway up, or name another"
            )
            raise ConfigError("--url", self.url, mend) from error
        if answer.status_code == 401:
            raise ConfigError("LORA_GATEWAY_API_KEY", "", _message(answer.content))
        try:
            return [str(one["id"]) for one in answer.json()["data"]]
        except (*NOT_JSON, KeyError, TypeError) as error:
            mend = f"answers {answer.status_code} where a list of models was expected"
            raise ConfigError("--url", self.url, mend) from error

    @contextmanager
    def ask(self, model: str, messages: Sequence[Message]) -> Iterator[Iterator[str]]:
        """The answer's text in pieces; leaving early ends the request. Raises ChatFailed."""
        body = {"model": model, "messages": list(messages), "stream": True}
        try:
            with self._client.stream("POST", "/v1/chat/completions", json=body) as answer:
                if answer.status_code != 200:
                    raise ChatFailed(_message(answer.read()))
                yield pieces_of(answer.iter_lines())
        except httpx.HTTPError as error:
            raise ChatFailed(f"the gateway does not answer: {_why(error)}") from error


def pieces_of(lines: Iterable[str]) -> Iterator[str]:
    """The texts of a chat's event stream. Raises ChatFailed for an error in it, and where it breaks off."""
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line[len("data:") :].strip()
        if data == "[DONE]":
            return
        document = _read(data)
        if "error" in document:
            raise ChatFailed(_text_of(document))
        for choice in document.get("choices", ()):
            content = choice.get("delta", {}).get("content")
            if content:
                yield content
            if choice.get("finish_reason") == "length":
                yield " […]"
    raise ChatFailed("the answer broke off")


def _read(data: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except NOT_JSON as error:
        raise ChatFailed("the gateway's stream cannot be read") from error
    return document if isinstance(document, dict) else {}


def _message(content: bytes) -> str:
    try:
        return _text_of(json.loads(content))
    except NOT_JSON:
        return content[:200].decode(errors="replace")


def _text_of(document: Any) -> str:
    error = document.get("error") if isinstance(document, dict) else None
    return str(error.get("message")) if isinstance(error, dict) else str(error or document)


def _why(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
