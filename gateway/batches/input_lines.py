"""One line of a batch's input: what it must be, and what is wrong with it. Pure but for the reading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

import msgspec

from gateway.dialects.parameters import unknown
from gateway.dialects.request_body import Fields, decode_body, text_field
from gateway.dialects.spelling import misspelt
from gateway.errors import NOT_JSON, InvalidRequest, RequestError

MEMBERS = ("custom_id", "method", "url", "body")
MOST_ID_CHARS = 512
LINE_OVERHEAD_BYTES = 64 * 1024
"""Of a line, what its body may be short of."""
SLICE_LINES = 256
SLICE_BYTES = 1024 * 1024
"""Read at a time, so that neither memory nor the other threads notice."""
LEAST_LINE_BYTES = 256
"""What a line counts as at the least: a megabyte of line breaks would take a second."""
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a line, or with the whole file where `line` is None."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None

    def document(self) -> dict[str, object]:
        """OpenAI's entry in a batch's `errors`."""
        return {"code": self.code, "message": self.message, "param": self.param, "line": self.line}


@dataclass(frozen=True, slots=True)
class RequestLine:
    """A line that is as it must be."""

    custom_id: str
    model: str
    body: bytes
    streamed: bool
    """It asks for a stream, which no batch has."""
    fields: Fields | None = field(default=None, compare=False, repr=False)
    """The body's, for the endpoint: nothing is written into them."""


class _Said(msgspec.Struct):
    """What a line must have."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


_decode = msgspec.json.Decoder(_Said).decode


class LineReader:
    """The lines of a file with their numbers, a slice at a time; blank ones are left out. It blocks."""

    def __init__(self, file: BinaryIO, most_bytes: int) -> None:
        """`most_bytes`: a longer line is not read."""
        self._file = file
        self._most_bytes = most_bytes
        self._number = 0
        self.at_end = False
        """There are no more."""

    def slice(self) -> list[tuple[int, bytes | None]]:
        """The next lines, None in place of one that is too long; nothing at the end."""
        lines: list[tuple[int, bytes | None]] = []
        size = 0
        while len(lines) < SLICE_LINES and size < SLICE_BYTES:
            line = self._file.readline(self._most_bytes + 1)
            if not line:
                self.at_end = True
                break
            self._number += 1
            size += max(len(line), LEAST_LINE_BYTES)
            if len(line) > self._most_bytes:
                lines.append((self._number, None))
                while line and not line.endswith(b"\n"):
                    line = self._file.readline(SLICE_BYTES)
                continue
            line = line.removeprefix(BOM)  # not of the first alone: files may be put one behind another
            if line.strip():
                lines.append((self._number, line))
        return lines


def read_line(line: bytes, endpoint: str) -> RequestLine:
    """Raises InvalidRequest, whose `param` says where."""
    try:
        line.decode()  # the body's own texts are not looked at here
        said = _decode(line)
    except NOT_JSON:
        raise _fault_in(line) from None
    if not 0 < len(said.custom_id) <= MOST_ID_CHARS:
        raise InvalidRequest(f"'custom_id' must have 1 to {MOST_ID_CHARS} characters.", param="custom_id")
    if said.method != "POST":
        raise InvalidRequest(
            f"The method must be 'POST', not '{said.method[:20]}'.", param="method", code="invalid_method"
        )
    if said.url != endpoint:
        raise InvalidRequest(
            f"The url is '{said.url[:100]}', and the batch's endpoint '{endpoint}'.",
            param="url",
            code="mismatched_endpoint",
        )
    body = bytes(said.body)
    try:
        fields = decode_body(body)
        model = text_field(fields, "model")
    except InvalidRequest as error:
        param = "body" if error.param is None else f"body.{error.param}"
        message = error.message.replace("The body", "'body'").replace("'model'", "'body.model'")
        raise InvalidRequest(message, param=param, code=error.code) from None
    streamed = bytes(fields.get("stream", b"")) == b"true"  # what else it may be, the endpoint looks at
    return RequestLine(said.custom_id, model, body, streamed, fields)


def _fault_in(line: bytes) -> InvalidRequest:
    """Why it has not every member that it must have."""
    try:
        line.decode()
        fields = decode_body(line)
        missing = [name for name in MEMBERS if name not in fields]
        for name in fields:  # what is said beside the request is a client's own note
            if missing and name not in MEMBERS and misspelt(name, missing):
                return unknown(name, MEMBERS)
        for name in MEMBERS[:-1]:
            text_field(fields, name)
    except UnicodeDecodeError as error:
        return InvalidRequest(
            f"The line is not UTF-8: {error.reason} at byte {error.start}.", code="invalid_json_line"
        )
    except InvalidRequest as error:
        if error.param is not None:
            return error
        return InvalidRequest(error.message.replace("The body", "The line"), code="invalid_json_line")
    return InvalidRequest("'body' is required.", param="body", code="missing_required_parameter")


def flaw_of(error: RequestError, line: int) -> Flaw:
    return Flaw(error.code or error.kind, error.message, line, error.param)


Check = Callable[[str], None]
"""Raises RequestError where a model may not be asked."""
