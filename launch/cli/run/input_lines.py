"""`lora-gateway run`: from a line of the input to the request that it stands for. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from gateway.errors import NOT_JSON, LoraGatewayError

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"
PATHS = (CHAT, TEXT, RESPONSES, EMBEDDINGS)
BOM = "\ufeff"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class BadLine(LoraGatewayError):
    """A line that stands for no request."""


@dataclass(frozen=True, slots=True)
class LineRequest:
    """What is asked for one line."""

    number: int
    digest: str
    """Of the line and the model: another one is another request."""
    path: str
    body: bytes
    custom_id: str | None
    openai: bool
    """The line is one of OpenAI's batches, and so is what comes of it."""

    @property
    def id(self) -> str:
        return f"run-{self.number}-{self.digest}"


def digest_of(model: str, line: bytes) -> str:
    """Twelve hex digits over a line without the white space around it."""
    return hashlib.blake2b(model.encode() + b"\0" + line.strip(), digest_size=6).hexdigest()


def read_request(number: int, line: bytes, model: str) -> LineRequest:
    """The request of one line: OpenAI's batch form, a body, or any value as a prompt. Raises BadLine."""
    digest = digest_of(model, line)
    value = _value(line)
    if not isinstance(value, dict):
        return _chat(number, digest, model, value, {}, None)
    custom_id = _custom_id(value)
    if "body" in value and "url" in value:
        return _batch_line(number, digest, model, value, custom_id)
    more = {key: each for key, each in value.items() if key not in ("custom_id", "id", "model")}
    if "stream" in more:
        raise BadLine("a run has no streams; leave 'stream' out")
    for key, path in (("messages", CHAT), ("prompt", TEXT)):
        if key in value:
            return LineRequest(number, digest, path, _encode({"model": model, **more}), custom_id, False)
    if "input" in value:
        return _chat(number, digest, model, more.pop("input"), more, custom_id)
    return _chat(number, digest, model, value, {}, custom_id)


def _value(line: bytes) -> object:
    """The line's JSON value, or its text where it is none."""
    try:
        text = line.decode().strip().removeprefix(BOM)
    except UnicodeDecodeError as error:
        raise BadLine(f"is not UTF-8 text ({error.reason} at byte {error.start})") from None
    try:
        return _decode(text)
    except NOT_JSON as error:
        if text.startswith(("{", "[", '"')):
            raise BadLine(f"is not valid JSON: {error}") from None
        return text


def _custom_id(value: dict[str, object]) -> str | None:
    for key in ("custom_id", "id"):
        found = value.get(key)
        if isinstance(found, (str, int)) and not isinstance(found, bool):
            return str(found)
    return None


def _batch_line(
    number: int, digest: str, model: str, value: dict[str, object], custom_id: str | None
) -> LineRequest:
    url, body = value["url"], value["body"]
    if url not in PATHS:
        raise BadLine(f"has the url {url!r}; known here: {', '.join(PATHS)}")
    if not isinstance(body, dict):
        raise BadLine("has a 'body' that is no object")
    if body.get("stream"):
        raise BadLine("a run has no streams; leave 'stream' out of the body")
    return LineRequest(number, digest, str(url), _encode({**body, "model": model}), custom_id, True)


def _chat(
    number: int, digest: str, model: str, value: object, more: dict[str, object], custom_id: str | None
) -> LineRequest:
    """`value` as the user's message: a string as it is, all else as JSON."""
    text = value if isinstance(value, str) else _encode(value).decode()
    messages = [{"role": "user", "content": text}]
    body = {"model": model, "messages": messages, **more}
    return LineRequest(number, digest, CHAT, _encode(body), custom_id, False)
