"""One request on the server's side: how its answer is framed, what is read of it, and what a leave does."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from gateway.errors import Unavailable
from gateway.http.request_cycle import CLIENT, Cycle, last_answer
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio
OK = b"HTTP/1.1 200 OK\r\n"


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.ends: list[str] = []

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def writelines(self, pieces: tuple[bytes, ...]) -> None:
        self.writes.append(b"".join(pieces))

    def is_closing(self) -> bool:
        return bool(self.ends)

    def close(self) -> None:
        self.ends.append("close")

    def abort(self) -> None:
        self.ends.append("reset")

    def get_extra_info(self, name: str) -> None:
        assert name == "socket"


class Flow:
    """A client that takes bytes, or takes none for now."""

    def __init__(self) -> None:
        self.write_paused = False
        self.read_paused = True
        self.taken = asyncio.Event()
        self.read_on = 0

    def resume_reading(self) -> None:
        self.read_on += 1

    async def drain(self) -> None:
        await self.taken.wait()


class Side:
    """The client's connection."""

    client = "127.0.0.1", 50000

    def __init__(self) -> None:
        self.transport, self.flow = Transport(), Flow()
        self.scope: dict[str, Any] = {"scheme": "https", "client": self.client, "state": {"shared": 1}}
        self.heard: list[str] = []

    def start(self, cycle: Cycle) -> None:
        self.heard.append("start")

    def answered(self) -> None:
        self.heard.append("answered")

    def linger(self) -> None:
        self.heard.append("linger")


def cycle(side: Side, method: str = "POST", version: str = "1.1", *, keep_alive: bool = True) -> Cycle:
    made = Cycle(side, [(b"host", b"x")])  # type: ignore[arg-type]  # as much of a connection as it asks for
    made.method, made.version, made.keep_alive, made.more_body = method, version, keep_alive, False
    made.path = "/v1/models"
    return made


async def test_a_whole_answer_goes_out_in_one_piece_with_its_length() -> None:
    side = Side()
    made = cycle(side)
    made.added = b"vary: origin\r\n"
    made.begin(200, [(b"content-length", b"5"), (b"x-a", b"b")])
    assert not side.transport.writes  # held until the body, which comes at once
    made.write(b"hello", False)
    assert side.transport.writes == [
        OK + b"x-a: b\r\nvary: origin\r\ncontent-length: 5\r\n\r\nhello",
    ]
    assert (made.response_complete, side.heard, side.transport.ends) == (True, ["answered"], [])


async def test_the_answer_to_a_head_has_the_length_and_no_body() -> None:
    side = Side()
    made = cycle(side, "HEAD")
    made.begin(200, [(b"content-length", b"5")])
    made.write(b"", False)
    assert side.transport.written == OK + b"content-length: 5\r\n\r\n"


async def test_what_was_not_modified_has_neither_length_nor_body() -> None:
    side = Side()
    made = cycle(side)
    made.begin(304, [(b"etag", b"e")])
    made.write(b"", False)
    assert side.transport.written == b"HTTP/1.1 304 Not Modified\r\netag: e\r\n\r\n"
    assert (made.response_complete, side.transport.ends) == (True, [])


async def test_an_answer_without_a_length_goes_out_in_chunks() -> None:
    side = Side()
    made = cycle(side)
    made.begin(200, [])
    assert made.write_chunk(b"ab") is True
    side.flow.write_paused = True
    assert made.write_chunk(b"c" * 16) is False
    made.write(b"d", False)
    head, _, body = side.transport.written.partition(b"\r\n\r\n")
    assert head.endswith(b"transfer-encoding: chunked")
    assert body == b"2\r\nab\r\n10\r\n" + b"c" * 16 + b"\r\n1\r\nd\r\n0\r\n\r\n"


async def test_to_an_old_client_the_end_is_a_close_and_a_break_is_a_reset() -> None:
    ended, broken = Side(), Side()
    for side in (ended, broken):
        made = cycle(side, version="1.0", keep_alive=False)
        made.begin(200, [])
        made.write(b"ab", True)
        if side is ended:
            made.write(b"", False)
        made.break_off()
        assert side.transport.written.endswith(b"\r\n\r\nab")
    assert (ended.transport.ends, broken.transport.ends) == (["close"], ["reset"])


@pytest.mark.parametrize(("body", "more"), [(b"toolong", True), (b"abc", False)])
async def test_a_body_that_is_not_as_long_as_was_said_is_a_fault(body: bytes, more: bool) -> None:
    made = cycle(Side())
    made.begin(200, [(b"content-length", b"5")])
    with pytest.raises(RuntimeError, match="Content-Length"):
        made.write(body, more)


async def test_a_header_with_a_line_break_never_goes_out() -> None:
    side = Side()
    with pytest.raises(RuntimeError, match=r"line break in the header b'x-a'$"):
        cycle(side).begin(200, [(b"x-b", b"d"), (b"x-a", b"b\r\nset-cookie: c")])
    assert not side.transport.writes


async def test_what_the_application_leaves_unfinished_is_broken_off() -> None:
    async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("no end")

    async def twice(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(2):
            await send({"type": "http.response.start", "status": 200, "headers": []})

    for app in (faulty, twice):
        side = Side()
        await cycle(side).run(app)
        assert (side.transport.ends, b"0\r\n\r\n" in side.transport.written) == (["close"], False)


async def test_the_scope_holds_the_request_and_the_way_to_it() -> None:
    made = cycle(Side())
    scope = made.scope()
    assert (scope["path"], scope["client"], scope["headers"]) == (
        "/v1/models",
        ("127.0.0.1", 50000),
        [(b"host", b"x")],
    )
    assert scope["scheme"] == "https"
    assert scope["extensions"][CLIENT] is made
    scope["state"]["shared"] = 2
    assert made.scope()["state"] == {"shared": 1}


async def test_a_body_is_received_as_it_comes_and_then_the_leave() -> None:
    side = Side()
    made = cycle(side)
    made.more_body, made.waiting_for_continue = True, True
    reading = asyncio.create_task(made.receive())
    await eventually(lambda: side.flow.read_on > 0)
    assert side.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    made.body += b"ab"
    made.came()
    assert await reading == {"type": "http.request", "body": b"ab", "more_body": True}
    made.more_body = False
    assert await made.receive() == {"type": "http.request", "body": b"", "more_body": False}
    leaving = asyncio.create_task(made.receive())
    await asyncio.sleep(0)
    assert not leaving.done()
    made.left()
    assert await leaving == {"type": "http.disconnect"}


async def test_a_body_that_was_handed_over_is_not_received_again() -> None:
    made = cycle(Side())
    made.body += b"ab"
    made.hand_over("what was found")
    reading = asyncio.create_task(made.receive())
    await asyncio.sleep(0)
    assert (made.found, reading.done()) == ("what was found", False)
    made.left()
    assert await reading == {"type": "http.disconnect"}


async def test_a_leave_is_told_once_and_not_after_the_end() -> None:
    told: list[str] = []
    early, late, before = cycle(Side()), cycle(Side()), cycle(Side())
    early.on_leave(lambda: told.append("early"))
    early.left()
    early.left()
    late.on_leave(lambda: told.append("late"))
    late.begin(200, [(b"content-length", b"0")])
    late.write(b"", False)
    late.left()
    before.left()
    before.on_leave(lambda: told.append("before"))
    assert told == ["early", "before"]


async def test_who_has_left_is_sent_nothing_more() -> None:
    side = Side()
    made = cycle(side)
    made.left()
    await made.send({"type": "http.response.start", "status": 200, "headers": []})
    assert not side.transport.writes


async def test_sending_waits_until_the_client_takes_bytes() -> None:
    side = Side()
    made = cycle(side)
    side.flow.write_paused = True
    sending = asyncio.create_task(made.send({"type": "http.response.start", "status": 200, "headers": []}))
    await asyncio.sleep(0)
    assert not side.transport.writes
    side.flow.taken.set()
    await sending
    assert side.transport.written.startswith(OK)


@pytest.mark.parametrize(("still_sends", "heard", "ends"), [(True, ["linger"], []), (False, [], ["close"])])
async def test_a_connection_that_is_not_kept_is_closed_once_the_client_has_its_answer(
    still_sends: bool, heard: list[str], ends: list[str]
) -> None:
    side = Side()
    made = cycle(side)
    made.more_body = still_sends
    made.begin(200, [(b"content-length", b"0"), (b"connection", b"close")])
    made.write(b"", False)
    assert b"connection: close\r\n" in side.transport.written
    assert (side.heard, side.transport.ends) == ([*heard, "answered"], ends)


def test_a_last_answer_is_whole_and_says_that_it_is_the_last() -> None:
    head, _, body = last_answer(Unavailable("Too late."), b"x-a: b\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\nx-a: b\r\n")
    assert b"connection: close" in head
    assert f"content-length: {len(body)}".encode() in head
    assert json.loads(body)["error"]["message"] == "Too late."
