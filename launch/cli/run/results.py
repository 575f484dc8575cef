"""`lora-gateway run`: from an answer to the line of the output that it becomes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from gateway.errors import NOT_JSON
from launch.cli.run.input_lines import LineRequest

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

Document = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class LineOutcome:
    """One line's, ready to be written."""

    number: int
    data: bytes
    reason: str = ""
    """Why it failed; empty where it did not."""
    custom_id: str | None = None


def unanswered(request: LineRequest, reason: str) -> LineOutcome:
    """The outcome of a request that nobody answered: an error `no_answer` with the reason."""
    error = {"code": "no_answer", "message": reason}
    return LineOutcome(request.number, _line(request, None, error), reason, request.custom_id)


def answered(request: LineRequest, status: int, body: bytes) -> LineOutcome:
    """The gateway's answer, whatever its status."""
    document = _document(body)
    reason = "" if status == 200 else f"{status} {_message(document, body)}"
    if not reason and not request.openai:
        try:
            data = _line(request, _output(document), None)
        except (KeyError, IndexError, TypeError):
            reason = "the answer is not as it should be"
    if request.openai:
        shown = document if document is not None else body[:1000].decode(errors="replace")
        data = _line(request, {"status_code": status, "body": shown}, None)
    elif reason:
        data = _line(request, None, {"status": status, **_error(document, body)})
    return LineOutcome(request.number, data, reason, request.custom_id)


def _line(request: LineRequest, came: object, error: object) -> bytes:
    """OpenAI's form for a line of OpenAI's, else `output`, the answer itself."""
    line = {
        "id": request.id,
        "custom_id": request.custom_id,
        "response" if request.openai else "output": came,
        "error": error,
    }
    if not request.openai and isinstance(came, _Output):
        line = {**line, "output": came.output, "error": None, **came.more}
    return _encode(line) + b"\n"


@dataclass(frozen=True, slots=True)
class _Output:
    output: object
    more: dict[str, object]


def _output(document: Document | None) -> _Output:
    """What a client would have read out of a completion. Raises KeyError, IndexError, TypeError."""
    if document is None:
        raise TypeError
    choices = document["choices"]
    if not isinstance(choices, list):
        raise TypeError
    outputs = [_text(choice) for choice in choices]
    more = {
        "finish_reason": choices[0]["finish_reason"],
        "model": document.get("model"),
        "usage": document.get("usage"),
    }
    return _Output(outputs[0] if len(outputs) == 1 else outputs, more)


def _text(choice: Mapping[str, object]) -> object:
    """A choice's text; as the value that it is where it is a JSON object or list."""
    if "text" in choice:
        return choice["text"]
    message = choice["message"]
    if not isinstance(message, dict):
        raise TypeError
    content = message.get("content")
    if not isinstance(content, str):
        return message  # a call of a tool
    if content.lstrip().startswith(("{", "[")):
        try:
            return _decode(content)
        except NOT_JSON:
            return content
    return content


def _document(body: bytes) -> Document | None:
    try:
        document = _decode(body)
    except NOT_JSON:
        return None
    return document if isinstance(document, dict) else None


def _error(document: Document | None, body: bytes) -> dict[str, object]:
    error = document.get("error") if document else None
    if isinstance(error, dict):
        return {str(key): value for key, value in error.items()}
    return {"message": body[:200].decode(errors="replace"), "code": None}


def _message(document: Document | None, body: bytes) -> str:
    error = _error(document, body)
    code, message = error.get("code"), error.get("message")
    return f"{code}: {message}" if code else str(message)
