"""`lora-gateway audit`, of commands here and over HTTP, and of keys that were refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.audit import AuditLog
from launch.cli.audit import line_of
from tests.fakes.plant import plant
from tests.support.stack import eventually, stack
from tests.unit.launch.conftest import Shell

pytestmark = pytest.mark.anyio


async def test_who_did_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with plant(tmp_path) as made, stack(tmp_path / "state", ready=False) as front:
        await eventually(lambda: front.gateway.replicas.control_alive)
        shell = Shell(made, capsys)
        assert "nothing in the last 24h" in (await shell.type("audit")).out
        root = (await shell.type("keys", "create", "root", "--role", "admin", "--json")).document["key"]
        await eventually(lambda: front.gateway._keys.required)
        headers = {"authorization": f"Bearer {root}"}
        user = (await front.client.post("/admin/keys", headers=headers, json={"name": "ci"})).json()["key"]
        await eventually(lambda: "ci" in front.gateway._keys._by_name)
        await shell.type("keys", "list")
        await front.client.get("/admin/keys", headers=headers)
        refused = {"authorization": f"Bearer {user}", "x-request-id": "asked-by-ci"}
        assert (await front.client.delete("/admin/keys/root", headers=refused)).status_code == 403
        await front.client.delete("/admin/keys/nobody", headers=headers)
        await front.client.get("/v1/models", headers={"authorization": "Bearer sk-guess"})
        said = await shell.type("audit", "--json")
        entries = [(one["action"], one["status"]) for one in said.document["entries"]]
        assert entries == [
            ("POST /keys", 200),
            ("POST /admin/keys", 200),
            ("DELETE /admin/keys/root", 403),
            ("DELETE /admin/keys/nobody", 404),
            ("unknown API key", 401),
        ]
        first, second, third, *_ = said.document["entries"]
        assert first["who"].startswith("command line (")
        assert (first["name"], first["role"]) == ("root", "admin")
        assert (second["who"], second["name"], second["address"]) == ("root", "ci", "127.0.0.1")
        assert (third["who"], third["request_id"]) == ("ci", "asked-by-ci")
        lines = (await shell.type("audit", "--since", "1h")).out
        assert "root: POST /admin/keys  name=ci address=127.0.0.1" in lines
        kept = "".join(str(one) for one in AuditLog(tmp_path / "state").entries()) + lines
        assert not any(key in kept for key in (root, user, "sk-guess"))


def test_what_a_client_sent_tells_a_terminal_nothing() -> None:
    entry = {"at": 0.0, "who": "ci", "action": "DELETE /admin/keys/\x1b]0;x\x07\x9b2J\u202e", "status": 403}
    line = line_of({**entry, "source": "a\x1b[31m"})
    assert line.isprintable()
    assert "ci: DELETE /admin/keys/?]0;x??2J?  source=a?[31m" in line
