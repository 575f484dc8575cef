"""`/admin/…` before a control plane that the test plays: who may, what is passed on, and what never is."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from gateway.audit import AuditLog
from gateway.endpoints.administration.commands import COMMANDS, HANDED_ON, MAX_BODY_BYTES, Command
from tests.fakes.plant import PlantOptions, adapter_folder, plant
from tests.support.stack import Stack, eventually, stack

pytestmark = pytest.mark.anyio

ADMIN, USER = "sk-admin-key", "sk-user-key"
ID = "naming@3f2a9c1b04de"
ADDED = {"task": "naming", "source": "/adapters/two"}


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


KEYS: dict[str, object] = {
    "root": {"sha256": digest(ADMIN), "admin": True},
    "team": {"sha256": digest(USER)},
}


def set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class FakeControl:
    """Answers every command alike, and keeps what came."""

    status: int = 200
    body: bytes = b'{"said": "so"}'
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    leave: bool = False
    """Close the connection instead of answering."""
    hold: asyncio.Event = field(default_factory=set_event)
    """Answers wait for it."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not reader.at_eof():
                await self._exchange(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the gateway has closed it
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *headers = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        length = next(int(one[15:]) for one in headers if one.startswith("content-length:"))
        body = await reader.readexactly(length)
        method, path, _ = line.split(" ")
        if path.startswith("/events"):
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n\n\r\n")
        elif path == "/gateways":
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        else:
            self.asked.append((f"{method} {path}", body))
            if self.leave:
                raise ConnectionError
            await self.hold.wait()
            head = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (self.status, len(self.body))
            writer.write(head + self.body)


@dataclass
class Client:
    stack: Stack
    control: FakeControl

    async def ask(
        self,
        method: str,
        path: str,
        fields: object = None,
        *,
        key: str | None = ADMIN,
        content: bytes | None = None,
        content_type: str = "application/json",
    ) -> httpx.Response:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        if fields is not None:
            content = json.dumps(fields).encode()
        if content is not None:
            headers["content-type"] = content_type
        return await self.stack.client.request(method, path, headers=headers, content=content)


@asynccontextmanager
async def administered(folder: Path, keys: object = KEYS) -> AsyncIterator[Client]:
    control = FakeControl()
    server = await asyncio.start_unix_server(control.serve, folder / "control.sock")
    async with server, stack(folder, keys=keys) as made:
        yield Client(made, control)


async def test_nobody_waits_while_the_log_of_commands_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, answered = threading.Event(), threading.Event()

    def write(*_: object, **__: object) -> None:
        begun.set()
        assert answered.wait(60)

    monkeypatch.setattr(AuditLog, "write", write)
    async with administered(tmp_path) as client:
        command = asyncio.create_task(client.ask("POST", "/admin/reload"))
        await eventually(begun.is_set)
        assert (await client.stack.client.get("/health")).status_code == 200
        assert not command.done()
        answered.set()
        assert (await command).status_code == 200


async def test_nobody_waits_while_the_log_of_refused_keys_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, answered = [], threading.Event()

    def write(_: AuditLog, action: str, *__: object, **___: object) -> None:
        assert answered.wait(60)
        written.append(action)

    monkeypatch.setattr(AuditLog, "write", write)
    async with administered(tmp_path) as client:
        assert (await client.ask("GET", "/v1/models", key="sk-wrong")).status_code == 401
        assert not written
        answered.set()
    assert written == ["unknown API key"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: f"{one.method} {one.path}")
async def test_each_command_has_the_control_planes_own_route(tmp_path: Path, command: Command) -> None:
    path = command.path.format(task="naming", name="team")
    async with administered(tmp_path) as client:
        answer = await client.ask(command.method, f"/admin{path}")
        assert (answer.status_code, answer.json()) == (200, {"said": "so"})
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"]
        assert client.control.asked == [
            (
                f"{command.method} {path}",
                b"" if command.fields is None else b'{"by":"root"}' if command.signed else b"{}",
            )
        ]


@pytest.mark.parametrize(
    ("method", "path"), [*((one.method, f"/admin{one.path}") for one in COMMANDS), ("GET", "/admin/status")]
)
async def test_only_admin_keys_may(tmp_path: Path, method: str, path: str) -> None:
    path = path.format(task="naming", name="team")
    async with administered(tmp_path) as client:
        for key, status, code in (
            (None, 401, "invalid_api_key"),
            ("sk-wrong", 401, "invalid_api_key"),
            (ADMIN[:-1], 401, "invalid_api_key"),
            (USER, 403, "permission_denied"),
        ):
            answer = await client.ask(method, path, ADDED, key=key)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert "admin: true" in answer.json()["error"]["message"]
        assert client.control.asked == []


@pytest.mark.parametrize(
    ("method", "path"), [*((one.method, f"/admin{one.path}") for one in COMMANDS), ("GET", "/admin/status")]
)
async def test_without_any_keys_it_is_closed(tmp_path: Path, method: str, path: str) -> None:
    async with administered(tmp_path, keys={}) as client:
        for key in (None, ADMIN):
            answer = await client.ask(method, path.format(task="naming", name="team"), key=key)
            assert answer.status_code == 403
            assert "lora-gateway keys create" in answer.json()["error"]["message"]
        assert client.control.asked == []


async def test_refusals_come_before_the_body(tmp_path: Path) -> None:
    head = "POST /admin/adapters HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100\r\n"
    async with administered(tmp_path) as client:
        answer = await client.stack.raw(f"{head}authorization: Bearer {USER}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 403 ")


async def test_fields_are_passed_on_and_the_refusal_comes_back(tmp_path: Path) -> None:
    async with administered(tmp_path) as client:
        control = client.control
        control.status, control.body = 400, b'{"error": {"message": "source: /x: is outside adapters.roots"}}'
        fields = {**ADDED, "canary": 10, "system": "Nom : « concept »"}
        answer = await client.ask("POST", "/admin/adapters", fields)
        assert (answer.status_code, answer.json()) == (400, json.loads(control.body))
        ((_, body),) = control.asked
        assert json.loads(body) == fields


async def test_one_version_is_named_in_the_query(tmp_path: Path) -> None:
    async with administered(tmp_path) as client:
        for query in (f"id={ID}", f"id={ID.replace('@', '%40')}"):
            assert (await client.ask("DELETE", f"/admin/adapters/naming?{query}")).status_code == 200
        assert client.control.asked == [("DELETE /adapters/naming?id=naming%403f2a9c1b04de", b"")] * 2


@pytest.mark.parametrize(
    "query",
    ["ids=x", "id", "id=", "id=naming", f"id={ID}&x=1", f"id={ID}%0a", "id=../x", f"x&id={ID}", "%69d=1"],
)
async def test_query_that_is_no_version_does_not_remove_the_task(tmp_path: Path, query: str) -> None:
    async with administered(tmp_path) as client:
        answer = await client.ask("DELETE", f"/admin/adapters/naming?{query}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "id")
        assert client.control.asked == []


@pytest.mark.parametrize(
    "task",
    [".", "-x", "a b", "naming%0a", "naming%0d%0ax: y", "naming%3fid=x", "n%00", "ü", "x" * 64, "%2e%2e"],
)
async def test_name_that_is_none_goes_nowhere(tmp_path: Path, task: str) -> None:
    async with administered(tmp_path) as client:
        head = f"GET /admin/adapters/{task} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        answer = await client.stack.raw(f"{head}authorization: Bearer {ADMIN}\r\n\r\n".encode())
        assert answer.split(b" ")[1] in (b"400", b"404")
        assert client.control.asked == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/admin", 404),
        ("GET", "/admin/", 404),
        ("GET", "/admin/state", 404),
        ("GET", "/admin/events", 404),
        ("POST", "/admin/gateways", 404),
        ("POST", "/admin/engines/start", 404),
        ("POST", "/admin/adapters/naming/remove", 404),
        ("GET", "/admin/adapters/naming/../../events", 404),
        ("PUT", "/admin/adapters", 405),
        ("DELETE", "/admin/adapters", 405),
        ("GET", "/admin/reload", 405),
    ],
)
async def test_nothing_else_can_be_reached(tmp_path: Path, method: str, path: str, status: int) -> None:
    async with administered(tmp_path) as client:
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        answer = await client.stack.raw(f"{head}authorization: Bearer {ADMIN}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert client.control.asked == []


@pytest.mark.parametrize(
    ("content", "content_type", "status", "said"),
    [
        (b"task=naming", "application/x-www-form-urlencoded", 415, "send application/json"),
        (b"{}", "text/plain", 415, "send application/json"),
        (b"{}", "multipart/form-data; boundary=x", 415, "send application/json"),
        (b"{", "application/json", 400, "not valid JSON"),
        (b"[]", "application/json", 400, "must be a JSON object"),
        (b"\xff", "application/json", 400, "not valid JSON"),
        (b'{"task": NaN}', "application/json", 400, "not valid JSON"),
        (b'{"task": ' + b"[" * 100_000, "application/json", 400, ""),
        (
            b'{"sauce": 1}',
            "application/json",
            400,
            "Unknown field 'sauce'; known here: canary, shadow, source,",
        ),
        (b'"' + b"x" * MAX_BODY_BYTES + b'"', "application/json", 413, f"larger than {MAX_BODY_BYTES} bytes"),
    ],
)
async def test_body_is_bounded_json_of_known_fields(
    tmp_path: Path, content: bytes, content_type: str, status: int, said: str
) -> None:
    async with administered(tmp_path) as client:
        answer = await client.ask("POST", "/admin/adapters", content=content, content_type=content_type)
        assert answer.status_code == status
        assert said in answer.json()["error"]["message"]
        assert client.control.asked == []


async def test_control_plane_that_is_gone_is_503_with_the_mend(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as made:
        client = Client(made, FakeControl())
        answer = await client.ask("GET", "/admin/adapters")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "control_plane_gone")
        assert "`lora-gateway up`" in error["message"]
        assert answer.headers["retry-after"]
        status = await client.ask("GET", "/admin/status")
        assert (status.status_code, status.json()["control_plane"]) == (200, False)


async def test_control_plane_that_goes_in_the_middle_is_503(tmp_path: Path) -> None:
    async with administered(tmp_path) as client:
        client.control.leave = True
        answer = await client.ask("POST", "/admin/adapters", ADDED)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "control_plane_gone")


@pytest.mark.parametrize("body", [b"Internal Server Error", b"[]", b""])
async def test_answer_that_is_no_json_is_502(tmp_path: Path, body: bytes) -> None:
    async with administered(tmp_path) as client:
        client.control.status, client.control.body = 500, body
        answer = await client.ask("GET", "/admin/tasks")
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "control_plane_unknown")


async def test_status_shows_no_digest(tmp_path: Path) -> None:
    async with administered(tmp_path) as client:
        answer = await client.ask("GET", "/admin/status")
        assert answer.json()["engines"][0]["state"] == "ready"
        assert digest(ADMIN) not in answer.text


async def test_adapter_added_over_http_answers(tmp_path: Path) -> None:
    """With the whole control plane: what is added, promoted and removed here is what requests see."""
    options = PlantOptions(keys=KEYS)
    async with plant(tmp_path, options) as made, stack(tmp_path / "state", ready=False, keys=KEYS) as front:
        client = Client(front, FakeControl())
        await made.until_state("ready")
        await eventually(lambda: front.gateway.replicas.control_alive)
        source = str(adapter_folder(tmp_path / "adapters" / "new", "new"))
        added = await client.ask("POST", "/admin/adapters", {"task": "fresh", "source": source})
        assert added.status_code == 200, added.text
        await eventually(lambda: "fresh" in front.gateway.replicas.table.routes)
        models = await client.ask("GET", "/v1/models", key=USER)
        assert "fresh" in [one["id"] for one in models.json()["data"]]
        shown = (await client.ask("GET", "/admin/adapters/fresh")).json()
        assert shown["loaded_on"] == {added.json()["id"]: ["engine-0"]}
        outside = await client.ask("POST", "/admin/adapters", {"task": "fresh", "source": "/etc"})
        assert (outside.status_code, "adapters.roots" in outside.text) == (400, True)
        missing = await client.ask("POST", "/admin/adapters/fersh/promote")
        assert (missing.status_code, "Did you mean 'fresh'?" in missing.text) == (404, True)
        changes = (await client.ask("GET", "/admin/tasks/diff")).json()["changes"]
        assert [one["task"] for one in changes] == ["fresh"]
        assert (await client.ask("DELETE", "/admin/adapters/fresh")).json()["task_removed"] is True
        assert (await client.ask("POST", "/admin/reload")).status_code == 200


async def test_whoever_is_refused_again_and_again_fills_no_log(tmp_path: Path) -> None:
    async with administered(tmp_path) as client:
        for number in range(5):
            assert (await client.ask("DELETE", f"/admin/keys/k{number}", key=USER)).status_code == 403
        client.control.status = 409
        for _ in range(3):
            assert (await client.ask("POST", "/admin/adapters", ADDED)).status_code == 409
        client.control.status = 200
        for _ in range(2):
            assert (await client.ask("POST", "/admin/adapters", ADDED)).status_code == 200
    found = [
        (one["who"], one["action"], one["status"], one.get("count")) for one in AuditLog(tmp_path).entries()
    ]
    assert found == [
        ("team", "DELETE /admin/keys/k0", 403, None),
        ("root", "POST /admin/adapters", 409, None),
        ("root", "POST /admin/adapters", 200, None),
        ("root", "POST /admin/adapters", 200, None),
        ("team", "refused", 403, 5),
        ("root", "refused", 409, 3),
    ]


async def test_a_command_that_the_gateways_end_cuts_off_is_noted(tmp_path: Path) -> None:
    async with administered(tmp_path) as client:
        client.control.hold.clear()
        command = asyncio.create_task(client.ask("POST", "/admin/keys", {"name": "ci"}))
        await eventually(lambda: bool(client.control.asked))
        for task in client.stack.server.tasks:
            task.cancel()
        await asyncio.gather(command, return_exceptions=True)
        client.control.hold.set()
    (entry,) = AuditLog(tmp_path).entries()
    assert (entry["who"], entry["action"], entry["status"]) == ("root", "POST /admin/keys", HANDED_ON)
    assert entry["name"] == "ci"


@pytest.mark.parametrize("value", [b"1e400", b"-1e400", b"9" * 5000])
async def test_a_number_that_nobody_can_read_is_noted_and_the_control_planes_to_refuse(
    tmp_path: Path, value: bytes
) -> None:
    async with administered(tmp_path) as client:
        client.control.status = 400
        content = b'{"task": "naming", "source": "/a", "canary": %b}' % value
        assert (await client.ask("POST", "/admin/adapters", content=content)).status_code == 400
        assert len(client.control.asked) == 1
    (entry,) = AuditLog(tmp_path).entries()
    assert (entry["action"], entry["status"], entry["task"]) == ("POST /admin/adapters", 400, "naming")
