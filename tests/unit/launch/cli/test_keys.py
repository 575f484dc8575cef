"""`lora-gateway keys …` against a control plane in the test's own loop, and a gateway that follows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.cli.keys import duration_s, new_command, seconds_until
from tests.fakes.plant import plant
from tests.support.stack import Stack, eventually, stack
from tests.unit.launch.conftest import Shell

pytestmark = pytest.mark.anyio


async def status(front: Stack, key: str | None, path: str = "/v1/models") -> int:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return (await front.client.get(path, headers=headers)).status_code


@pytest.fixture
async def both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[tuple[Shell, Stack]]:
    async with plant(tmp_path) as made, stack(tmp_path / "state", ready=False) as front:
        await eventually(lambda: front.gateway.replicas.control_alive)
        yield Shell(made, capsys), front


async def test_a_key_from_making_to_its_end(both: tuple[Shell, Stack]) -> None:
    shell, front = both
    assert await status(front, None) == 200, "no keys yet: whoever is on this machine may"
    made = (await shell.type("keys", "create", "ci", "--task", "nam*", "--expires", "30d", "--json")).document
    key = made["key"]
    await eventually(lambda: front.gateway._keys.required)
    assert [await status(front, one) for one in (None, "x", key)] == [401, 401, 200]
    listed = (await front.client.get("/v1/models", headers={"authorization": f"Bearer {key}"})).json()
    assert [one["id"] for one in listed["data"]] == ["naming"]
    how = ("--keep", "1h", "--expires", "60d", "--json")
    again = (await shell.type("keys", "rotate", "ci", *how)).document
    assert 29 * 86_400 < again["expires_at"] - made["expires_at"] < 31 * 86_400
    rotated = again["key"]
    await eventually(lambda: front.gateway._keys._by_name["ci"].name == "ci")
    assert [await status(front, one) for one in (key, rotated)] == [200, 200]
    said = await shell.type("keys", "revoke", "ci")
    assert "401 from now on" in said.out
    await eventually(lambda: front.gateway._keys._by_name["ci"].disabled)
    assert [await status(front, one) for one in (None, key, rotated)] == [401] * 3, "and it opens to nobody"


async def test_an_admin_makes_keys_over_http(both: tuple[Shell, Stack]) -> None:
    shell, front = both
    root = (await shell.type("keys", "create", "root", "--role", "admin", "--json")).document["key"]
    await eventually(lambda: front.gateway._keys.required)
    headers = {"authorization": f"Bearer {root}"}
    answer = await front.client.post("/admin/keys", headers=headers, json={"name": "user"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    user = answer.json()["key"]
    assert answer.json()["created_by"] == "root"
    await eventually(lambda: "user" in front.gateway._keys._by_name)
    assert [await status(front, user), await status(front, user, "/admin/keys")] == [200, 403]
    forged = await front.client.post("/admin/keys", headers=headers, json={"name": "x", "by": "somebody"})
    assert (forged.status_code, "Unknown field 'by'" in forged.text) == (400, True)
    listed = await front.client.get("/admin/keys", headers=headers)
    assert [one["name"] for one in listed.json()["keys"]] == ["root", "user"]
    assert user not in listed.text
    snapshot = await front.client.get("/admin/status", headers=headers)
    assert "sha256" not in snapshot.text
    assert (await front.client.delete("/admin/keys/user", headers=headers)).json()["state"] == "revoked"
    await eventually(lambda: front.gateway._keys._by_name["user"].disabled)
    assert await status(front, user) == 401


async def test_limits_of_a_key(both: tuple[Shell, Stack]) -> None:
    shell, front = both
    options = ("--requests-per-minute", "60", "--tokens-per-day", "100000", "--wait")
    key = (await shell.type("keys", "create", "ci", *options, "--json")).document["key"]
    shown = await shell.type("keys", "show", "ci")
    assert "limits: requests per minute 60, tokens per day 100,000; over that it waits" in shown.out
    await eventually(lambda: front.gateway.quotas.bounded)
    body = {"model": "naming", "messages": [{"role": "user", "content": "x"}]}
    headers = {"authorization": f"Bearer {key}"}
    answer = await front.client.post("/v1/chat/completions", headers=headers, json=body)
    assert (answer.status_code, answer.headers["x-ratelimit-remaining-requests"]) == (200, "59")
    assert "ci: no limits" in (await shell.type("keys", "limit", "ci")).out
    await eventually(lambda: not front.gateway.quotas.bounded)
    said = await shell.type("keys", "limit", "ci", "--wait")
    assert (said.code, "for which limit" in said.err) == (2, True)


async def test_words_for_people(both: tuple[Shell, Stack]) -> None:
    shell, _ = both
    assert "there are no keys" in (await shell.type("keys", "list")).out
    made = await shell.type("keys", "create", "ops", "--role", "operator", "--tenant", "acme")
    key = made.out.split()[1]
    assert key.startswith("sk-lg-")
    assert "shown this once. ops: operator, may call every model" in made.out
    listed = await shell.type("keys", "list")
    assert listed.out.splitlines()[1].split() == [
        "ops",
        "active",
        "operator",
        "acme",
        "every",
        "model",
        "never",
        "command",
    ]
    shown = await shell.type("keys", "show", "ops")
    assert "created by: command line" in shown.out
    assert key not in listed.out + shown.out
    twice = await shell.type("keys", "create", "ops")
    assert (twice.code, "choose another name" in twice.err) == (1, True)
    unknown = await shell.type("keys", "revoke", "opps")
    assert (unknown.code, "Did you mean 'ops'?" in unknown.err) == (1, True)


async def test_a_gateway_that_starts_without_the_control_plane_knows_issued_keys(tmp_path: Path) -> None:
    async with plant(tmp_path) as made:
        made_key = (await made.client.post("/keys", json={"name": "ci"})).json()["key"]
        gone = (await made.client.post("/keys", json={"name": "gone"})).json()["key"]
        await made.client.delete("/keys/gone")
    async with stack(tmp_path / "state", ready=False) as front:
        assert [await status(front, one) for one in (None, made_key, gone)] == [401, 200, 401]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("15m", 900), ("12h", 43200), ("30d", 2592000), ("1.5h", 5400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text, "--keep") == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1d", 86400),
        ("1970-01-02", 86300),
        ("1970-01-01T01:00:00Z", 3500),
        ("1970-01-01T01:00+01:00", None),
    ],
)
def test_ends(text: str, seconds: float | None) -> None:
    if seconds is None:
        with pytest.raises(ConfigError, match="over already"):
            seconds_until(text, 100)
    else:
        assert seconds_until(text, 100) == seconds


def test_no_key_is_shown_for_a_name_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="NAME"):
        new_command("x y")
    assert not capsys.readouterr().out


@pytest.mark.parametrize("text", ["soon", "", "0", "2027", "-1d", "2027-13-01"])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="30d"):
        seconds_until(text, 100)
