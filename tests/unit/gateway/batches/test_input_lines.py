"""One line of a batch's input: read in slices, and refused by name where it is not as it must be."""

from __future__ import annotations

import io
import json

import pytest

from gateway.batches import input_lines
from gateway.batches.input_lines import (
    LEAST_LINE_BYTES,
    SLICE_BYTES,
    Flaw,
    LineReader,
    RequestLine,
    flaw_of,
    read_line,
)
from gateway.errors import InvalidRequest

CHAT = "/v1/chat/completions"


def line(**changed: object) -> bytes:
    whole: dict[str, object] = {"custom_id": "r", "method": "POST", "url": CHAT, "body": {"model": "m"}}
    return json.dumps({name: value for name, value in (whole | changed).items() if value != ""}).encode()


def test_line_is_read_with_its_body_as_it_was_written() -> None:
    assert read_line(line(), CHAT) == RequestLine("r", "m", b'{"model": "m"}', False)
    assert read_line(line(body={"model": "m", "stream": True}), CHAT).streamed
    assert not read_line(line(body={"model": "m", "stream": "x"}), CHAT).streamed  # for the endpoint to say


@pytest.mark.parametrize(
    ("broken", "param", "code"),
    [
        (b"nonsense", None, "invalid_json_line"),
        (line(body={"model": "m", "input": "?"}).replace(b"?", b"caf\xe9"), None, "invalid_json_line"),
        (line(custom_id="?").replace(b"?", b"caf\xe9"), None, "invalid_json_line"),
        (line(custom_id=""), "custom_id", None),
        (line(custom_id="x" * 513), "custom_id", None),
        (line(method="GET"), "method", "invalid_method"),
        (line(url="/v1/other"), "url", "mismatched_endpoint"),
        (line(body=""), "body", "missing_required_parameter"),
        (line(body="[]"), "body", None),
        (line(body={"model": 5}), "body.model", None),
        (line(custom_id=None, customid="a"), "customid", None),
    ],
)
def test_broken_line_is_refused_with_the_place(broken: bytes, param: str | None, code: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_line(broken, CHAT)
    assert refused.value.param == param
    if code is not None:
        assert refused.value.code == code


def test_flaw_is_openais_entry() -> None:
    flaw = flaw_of(InvalidRequest("no", param="url", code="c"), 3)
    assert flaw == Flaw("c", "no", 3, "url")
    assert flaw.document() == {"code": "c", "message": "no", "param": "url", "line": 3}


def read(content: bytes, most_bytes: int = 100) -> list[list[tuple[int, bytes | None]]]:
    reader = LineReader(io.BytesIO(content), most_bytes)
    slices = []
    while lines := reader.slice():
        slices.append(lines)
    return slices


def test_lines_keep_their_numbers_though_blank_ones_are_left_out() -> None:
    bom = b"\xef\xbb\xbf"
    assert read(bom + b"one\n\n  \r\nfour") == [[(1, b"one\n"), (4, b"four")]]
    assert read(b"one\n" + bom + b"two\n" + bom) == [
        [(1, b"one\n"), (2, b"two\n")]
    ]  # one file behind another


def test_line_that_is_too_long_is_passed_over_whole() -> None:
    assert read(b"x" * 1000 + b"\nnext\n", most_bytes=10) == [[(1, None), (2, b"next\n")]]
    assert read(b"x" * 10 + b"\n", most_bytes=11) == [[(1, b"x" * 10 + b"\n")]]


def test_slices_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_lines, "SLICE_LINES", 2)
    assert [[number for number, _ in one] for one in read(b"a\nb\nc\n")] == [[1, 2], [3]]
    monkeypatch.setattr(input_lines, "SLICE_LINES", 100)
    monkeypatch.setattr(input_lines, "SLICE_BYTES", LEAST_LINE_BYTES + 1)
    assert [[number for number, _ in one] for one in read(b"a\nb\nc\n")] == [[1, 2], [3]]


def test_a_slice_of_blank_lines_is_no_longer_than_others() -> None:
    file = io.BytesIO(b"\n" * SLICE_BYTES)
    assert LineReader(file, 100).slice() == []
    assert file.tell() <= SLICE_BYTES / LEAST_LINE_BYTES


def test_a_lines_other_members_are_its_clients_own() -> None:
    noted = line(metadata={"source": "a"}, id=5, priority=1)
    assert read_line(noted, CHAT) == read_line(line(), CHAT)
