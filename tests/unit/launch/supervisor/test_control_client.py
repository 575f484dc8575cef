"""Commands' way to the control plane: whole snapshots, and a socket that is not ours."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from gateway.config.snapshot import Snapshot, TaskStatus, encode_snapshot
from gateway.errors import ConfigError, RequestError
from launch.supervisor.control_client import ControlClient

PROMPT = "one line\u2028another\u0085and a third\x0b"


def test_a_snapshot_is_read_whole_whatever_its_prompts_hold(tmp_path: Path) -> None:
    task = TaskStatus(settings={"adapter": "", "system": PROMPT})
    line = encode_snapshot(Snapshot(version=7, tasks={"naming": task})) + b"\n"
    heard: list[Snapshot] = []
    come = threading.Event()

    def heed(snapshot: Snapshot) -> None:
        heard.append(snapshot)
        come.set()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            connection.sendall(head)
            for piece in (b"\n", line[:40], line[40:]):
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            connection.recv(4096)  # until the client goes

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        server = threading.Thread(target=serve)
        server.start()
        with ControlClient(tmp_path).watched(heed):
            assert come.wait(5)
        server.join(5)
        assert not server.is_alive()  # the client has gone at the end of its block
    assert [(one.version, one.tasks["naming"].settings["system"]) for one in heard] == [(7, PROMPT)]


def test_a_refusal_to_be_watched_is_raised_as_it_was_meant(tmp_path: Path) -> None:
    body = b'{"error": {"message": "Another leads.", "code": "control_plane_elsewhere"}}'

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            head = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: %d\r\n\r\n"
            connection.sendall(head % len(body) + body)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        server = threading.Thread(target=serve)
        server.start()
        watching = ControlClient(tmp_path).watched(lambda _: None)
        with pytest.raises(RequestError, match="Another leads") as refused, watching:
            pytest.fail("nothing is watched")
        server.join(5)
    assert (refused.value.status, refused.value.code) == (503, "control_plane_elsewhere")


def test_another_users_socket_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: socket.socket, __: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(ConfigError, match="belongs to another user"):
        ControlClient(tmp_path).ask("GET", "/state")
