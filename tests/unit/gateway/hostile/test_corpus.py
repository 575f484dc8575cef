"""Rows of docs/attacks.md that belong to no one module; and that each of its tests is there."""

from __future__ import annotations

import ast
import hashlib
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config.document import Config
from gateway.config.secrets.state_secrets import CACHE_KEY, ENGINE_KEY, made_secret
from launch.supervisor.lock import sole_launch
from tests.support.stack import key_of, stack

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs/attacks.md").read_text(encoding="utf-8")
ROWS = [line.split(" | ") for line in PAGE.splitlines() if re.match(r"\| \d", line)]
KEY = "sk-a-real-key"


def test_the_page_has_every_row() -> None:
    assert [int(row[0].strip("| ")) for row in ROWS] == [*range(1, 62)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("| "))
def test_each_row_is_held_by_tests_that_there_are(row: list[str]) -> None:
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", row[-1])
    assert named
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        functions = (one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
        assert test in {one.name for one in functions}, f"{file} has no {test}"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "sent",
    [
        *(
            "' OR 1=1 --",
            '"; DROP TABLE api_key; --',
            "{{ 7 * 7 }}",
            "${jndi:ldap://x}",
            "%s%s%n",
            "\u00e9" * 50,
        ),
        *(KEY[:-1], KEY + "x", KEY.upper(), hashlib.sha256(KEY.encode()).hexdigest(), "a" * 9000, "*"),
    ],
)
async def test_no_text_in_place_of_a_key_gets_in(tmp_path: Path, sent: str) -> None:
    keys = {"ci": key_of(KEY)}
    async with stack(tmp_path, keys=keys) as s:
        for header in (b"authorization: Bearer ", b"x-api-key: "):
            head = header + sent.encode("latin-1") + b"\r\nhost: x\r\nconnection: close\r\n\r\n"
            answer = await s.raw(b"GET /v1/models HTTP/1.1\r\n" + head)
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert sent.encode("latin-1")[:9] not in answer.partition(b"\r\n\r\n")[2]
        good = await s.client.get("/v1/models", headers={"authorization": f"Bearer {KEY}"})
        assert good.status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "localhost.evil.net"])
def test_nothing_but_the_gateway_listens_beyond_loopback(host: str) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate({"base": {"model": "m"}, "engine": {"host": host}})
    with pytest.raises(ValidationError, match="no keys"):
        Config.model_validate({"base": {"model": "m"}, "gateway": {"host": host}})


@pytest.mark.anyio
async def test_state_is_its_owners_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    keys = {"ci": key_of(KEY, limits={"requests_per_minute": 9})}
    with sole_launch(state):
        for name in (ENGINE_KEY, CACHE_KEY):
            made_secret(state, name)
        async with stack(state, ready=False, keys=keys) as s:
            headers = {"authorization": f"Bearer {KEY}"}
            file: Any = {"file": ("a.jsonl", b'{"custom_id":"1"}\n'), "purpose": (None, "batch")}
            assert (await s.client.post("/v1/files", headers=headers, files=file)).status_code == 200
            await s.client.get("/admin/status", headers={"authorization": "Bearer nobody"})
        found = [one for one in (state, *state.rglob("*")) if not one.is_symlink()]
    assert len(found) > 5
    open_to_others = [one for one in found if stat.S_IMODE(one.stat().st_mode) & 0o077]
    assert open_to_others == []


@pytest.mark.parametrize("file", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda file: file.name)
def test_every_requirement_is_locked_by_digest(file: Path) -> None:
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    requirements = [line for line in text.splitlines() if re.match(r"[a-zA-Z]", line)]
    assert requirements
    assert [line.split()[0] for line in requirements if "--hash=sha256:" not in line] == []
