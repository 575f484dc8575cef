"""The gateway's side of the control socket: whole snapshots, the newest of several, and its end."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gateway.config.snapshot import SOCKET, Snapshot, encode_snapshot
from gateway.errors import EngineError, Unavailable
from gateway.routing.control_socket import Control
from tests.fakes.fake_control import FakeControl
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio


async def test_snapshot_now_then_the_newest_of_those_that_came_together(tmp_path: Path) -> None:
    async with FakeControl(tmp_path, Snapshot(1)) as fake:
        control = Control(tmp_path)
        snapshots = control.snapshots("g1")
        assert (await anext(snapshots)).version == 1
        fake.tell(b"\n" + b"".join(encode_snapshot(Snapshot(number)) + b"\n" for number in (2, 3)))
        assert (await anext(snapshots)).version == 3
        line = encode_snapshot(Snapshot(4))
        fake.tell(line[:5])
        fake.tell(line[5:] + b"\n")
        assert (await anext(snapshots)).version == 4
        await snapshots.aclose()
        control.close()


@pytest.mark.parametrize("said", [b"nonsense\n", b"[]\n"])
async def test_line_that_is_no_snapshot_ends_the_stream(tmp_path: Path, said: bytes) -> None:
    async with FakeControl(tmp_path, Snapshot(1)) as fake:
        snapshots = Control(tmp_path).snapshots("g1")
        await anext(snapshots)
        fake.tell(said)
        with pytest.raises(EngineError, match="cannot be read"):
            await anext(snapshots)


async def test_end_of_the_control_plane_is_an_error(tmp_path: Path) -> None:
    async with FakeControl(tmp_path, Snapshot(1)) as fake:
        snapshots = Control(tmp_path).snapshots("g1")
        await anext(snapshots)
        fake.break_off()
        with pytest.raises(EngineError):
            await anext(snapshots)


async def test_request_is_answered_or_names_the_mend(tmp_path: Path) -> None:
    control = Control(tmp_path)
    async with FakeControl(tmp_path) as fake:
        fake.statuses["/x"] = 409
        assert await control.request("POST", "/x", b"{}") == (409, b"")
        assert [(one.method, one.path, one.body) for one in fake.asked] == [("POST", "/x", b"{}")]
    with pytest.raises(Unavailable, match="lora-gateway up") as gone:
        await control.request("GET", "/x")
    assert gone.value.code == "control_plane_gone"
    control.close()


@pytest.mark.parametrize("after", range(7))
async def test_the_fake_that_stops_leaves_no_connection_however_young(tmp_path: Path, after: int) -> None:
    """One that was left would have every later report, and the control plane that comes next none."""
    async with FakeControl(tmp_path) as fake:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / SOCKET))
            client.setblocking(False)
            await turns(after)
            await fake.stop()
            await turns()
            with pytest.raises(BrokenPipeError):
                client.send(b"POST /gateways HTTP/1.1\r\n\r\n")
