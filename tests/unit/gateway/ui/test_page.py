"""The page's routes, as a browser meets them."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from gateway.app import Gateway
from tests.fakes.fake_control import FakeControl
from tests.support.stack import config_of, eventually, snapshot_of, stack
from tests.unit.gateway.ui.signing_in import KEYS, sign_in

pytestmark = pytest.mark.anyio

CHAT = {"model": "naming", "messages": [{"role": "user", "content": "cat"}]}


async def test_signing_in_is_by_a_key_and_the_cookie_is_out_of_scripts_reach(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        told = (await s.client.get("/ui/api/session")).json()
        assert (told["keys"], told["signed_in"]) == (True, False)
        answer = await s.client.post("/ui/api/session", json={"key": "boss"})
        cookie = answer.headers["set-cookie"]
        for part in ("HttpOnly", "SameSite=Strict", "Path=/ui", "Max-Age=43200"):
            assert part in cookie
        assert "Secure" not in cookie
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json()["role"] == "admin"
        over_tls = {"origin": f"https://127.0.0.1:{s.port}"}
        secured = await s.client.post("/ui/api/session", json={"key": "boss"}, headers=over_tls)
        assert "; Secure" in secured.headers["set-cookie"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/overview"), ("GET", "/requests"), ("GET", "/usage"), ("GET", "/pass/v1/models")],
)
async def test_nothing_is_shown_to_who_is_not_signed_in(tmp_path: Path, method: str, path: str) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        assert (await s.client.request(method, f"/ui/api{path}")).status_code == 401
        # A key in a header opens the API, and not the page.
        headers = {"authorization": "Bearer boss"}
        assert (await s.client.request(method, f"/ui/api{path}", headers=headers)).status_code == 401


async def test_unknown_keys_are_counted_with_those_of_the_api(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS, max_bad_keys_per_minute=2) as s:
        wrong = {"authorization": "Bearer wrong"}
        assert (await s.client.get("/v1/models", headers=wrong)).status_code == 401
        assert (await s.client.post("/ui/api/session", json={"key": "guess-1"})).status_code == 401
        refused = await s.client.post("/ui/api/session", json={"key": "guess-2"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_bad_keys")
        await sign_in(s, "boss")  # a good one is still taken


async def test_forged_requests_are_refused(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        browser = await sign_in(s, "boss")
        own = f"http://127.0.0.1:{s.port}"
        for headers in (
            {"x-csrf-token": ""},
            {"x-csrf-token": "0" * 64},
            {"origin": "https://evil.example"},
            {"origin": own, "sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ):
            answer = await browser.ask("POST", "/pass/v1/chat/completions", json=CHAT, headers=headers)
            assert answer.status_code == 403, headers
        assert not s.engine.completions
        good = {"origin": own, "sec-fetch-site": "same-origin"}
        answer = await browser.ask("POST", "/pass/v1/chat/completions", json=CHAT, headers=good)
        assert answer.status_code == 200
        other = await sign_in(s, "user")
        headers = {"x-csrf-token": other.token}
        assert (await browser.ask("DELETE", "/session", headers=headers)).status_code == 403


async def test_signing_out_and_a_revoked_key_end_the_session_at_once(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        first, second = await sign_in(s, "user"), await sign_in(s, "user")
        assert (await first.ask("DELETE", "/session")).json() == {"signed_in": False}
        assert (await first.ask("GET", "/overview")).status_code == 401
        assert (await second.ask("GET", "/overview")).status_code == 200
        snapshot = snapshot_of(s.gateway.replicas.config, 2, state="ready", url=s.engine.url)
        keys = {**snapshot.keys, "user": {**snapshot.keys["user"], "disabled": True}}
        s.gateway.replicas.apply(msgspec.structs.replace(snapshot, keys=keys))
        refused = await second.ask("GET", "/overview")
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_without_keys_it_answers_this_machines_names_alone(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        for host in (f"127.0.0.1:{s.port}", "localhost", "[::1]:80", "gateway.localhost"):
            assert (await s.client.get("/ui/api/overview", headers={"host": host})).status_code == 200, host
        for host in ("evil.example", "10.0.0.7:80", "localhost.evil.example"):
            answer = await s.client.get("/ui/api/overview", headers={"host": host})
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed"), host
        told = (await s.client.get("/ui/api/session")).json()
        assert (told["keys"], told["signed_in"], told["may_change"]) == (False, True, False)
        headers = {"x-csrf-token": told["token"]}
        chat = await s.client.post("/ui/api/pass/v1/chat/completions", json=CHAT, headers=headers)
        assert chat.status_code == 200
        assert (await s.client.post("/ui/api/pass/v1/chat/completions", json=CHAT)).status_code == 403


async def test_pages_of_other_origins_are_never_let_in(tmp_path: Path) -> None:
    async with stack(tmp_path, cors_origins=["*"]) as s:
        asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        assert (await s.client.options("/ui/api/overview", headers=asked)).status_code == 403
        answer = await s.client.get("/ui/api/session", headers={"origin": "https://evil.example"})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


async def test_what_is_passed_on_is_as_the_key_itself_would_get_it(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        user = await sign_in(s, "user")
        models = (await user.ask("GET", "/pass/v1/models")).json()["data"]
        assert [model["id"] for model in models] == ["naming"]
        refused = await user.ask("POST", "/pass/v1/chat/completions", json={**CHAT, "model": "base"})
        assert refused.status_code == 403
        assert (await user.ask("GET", "/pass/admin/keys")).status_code == 403
        streamed = await user.ask("POST", "/pass/v1/chat/completions", json={**CHAT, "stream": True})
        assert streamed.text.endswith("data: [DONE]\n\n")
        for path in ("/pass/metrics", "/pass/ui/api/overview", "/pass/v1/../metrics"):
            assert (await user.ask("GET", path)).status_code == 404, path
        assert not s.gateway._keys._tickets  # none is left behind


async def test_each_sees_what_is_its_own(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        boss, user, op = [await sign_in(s, name) for name in ("boss", "user", "op")]
        for browser, model in ((boss, "naming"), (boss, "base"), (user, "naming")):
            assert (
                await browser.ask("POST", "/pass/v1/chat/completions", json={**CHAT, "model": model})
            ).is_success
        await s.at_rest()
        seen = {
            name: (await one.ask("GET", "/overview")).json()
            for name, one in zip("bu", (boss, user), strict=True)
        }
        assert [task["name"] for task in seen["b"]["tasks"]] == ["concept", "naming"]
        assert [task["name"] for task in seen["u"]["tasks"]] == ["naming"]
        assert "reason" in seen["b"]["engines"][0]
        assert "reason" not in seen["u"]["engines"][0]
        assert seen["b"]["counts"]["models"]["naming"]["requests"] == 2
        assert "base" not in seen["u"]["counts"]["models"]
        assert seen["u"]["engines"][0]["loaded"] == ["naming@bbbbbbbbbbbb"]
        of_boss = (await boss.ask("GET", "/requests")).json()["requests"]
        of_user = (await user.ask("GET", "/requests")).json()["requests"]
        assert sorted(one["key"] for one in of_boss) == ["boss", "boss", "user"]
        assert [one["key"] for one in of_user] == ["user"]
        assert (await op.ask("GET", "/requests")).json()["requests"] == []
        assert [key["name"] for key in (await user.ask("GET", "/usage")).json()["keys"]] == ["user"]
        everybody = (await boss.ask("GET", "/usage")).text
        assert all(str(key["sha256"]) not in everybody for key in KEYS.values())
        for browser in (user, op):
            assert (await browser.ask("GET", "/shadow/naming")).status_code == 404
        assert (await boss.ask("GET", "/shadow/naming")).json() == {"task": "naming", "records": []}


async def test_where_the_time_of_a_request_went_is_kept_without_its_texts(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        await s.chat(stream=True)
        await s.chat(model="nobody")
        await s.at_rest()
        answer = await s.client.get("/ui/api/requests")
        failed, streamed = answer.json()["requests"]
        assert (streamed["task"], streamed["adapter"], streamed["status"]) == (
            "naming",
            "naming@bbbbbbbbbbbb",
            200,
        )
        assert 0 < streamed["first_token_s"] <= streamed["total_s"]
        assert (failed["status"], failed["code"]) == (404, "model_not_found")
        assert "cat" not in answer.text


async def test_limits_are_shown_with_what_is_used(tmp_path: Path) -> None:
    keys = {"user": {**KEYS["user"], "limits": {"requests_per_minute": 60, "tokens_per_day": 1000}}}
    async with stack(tmp_path, keys=keys) as s:
        user = await sign_in(s, "user")
        await user.ask("POST", "/pass/v1/chat/completions", json=CHAT)
        await s.at_rest()
        (account,) = (await user.ask("GET", "/usage")).json()["limits"]
        bounds = {one["bound"]: (one["used"], one["most"]) for one in account["bounds"]}
        assert account["said"] == "the key 'user'"
        assert bounds["requests_per_minute"] == (1, 60)
        assert 0 < bounds["tokens_per_day"][0] < 1000


async def test_a_dropped_archive_goes_to_the_control_plane_and_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, removed_in = Path.unlink, set[int]()

    def removed(path: Path, missing_ok: bool = False) -> None:
        removed_in.add(threading.get_ident())
        unlink(path, missing_ok)

    snapshot = snapshot_of(config_of(tmp_path, keys=KEYS), 1)
    async with FakeControl(tmp_path, snapshot) as control, stack(tmp_path, keys=KEYS, ready=False) as s:
        control.statuses["/adapters"] = 409
        boss, user = await sign_in(s, "boss"), await sign_in(s, "user")
        wishes = {"x-adapter": '{"file":"new name.tar","task":"naming","canary":10}'}
        monkeypatch.setattr(Path, "unlink", removed)
        await boss.ask("POST", "/adapters", content=b"archive", headers=wishes)
        assert threading.get_ident() not in removed_in, "to remove a large one takes a while"
        (asked,) = [one for one in control.asked if one.path == "/adapters"]
        fields = msgspec.json.decode(asked.body)
        assert (fields["task"], fields["canary"]) == ("naming", 10)
        assert Path(fields["source"]).parent == tmp_path / "uploads"
        assert fields["source"].endswith("-new-name.tar")
        await eventually(lambda: not list((tmp_path / "uploads").iterdir()))
        refused = await user.ask("POST", "/adapters", content=b"archive", headers=wishes)
        assert refused.status_code == 403
        assert list((tmp_path / "uploads").iterdir()) == []
        assert len([one for one in control.asked if one.path == "/adapters"]) == 1


async def test_an_archive_that_would_be_refused_is_not_even_kept(tmp_path: Path) -> None:
    wishes = {"x-adapter": '{"file":"a.tar","task":"naming"}'}
    async with stack(tmp_path, keys=KEYS) as s:
        for name in ("user", "op"):
            browser = await sign_in(s, name)
            assert (await browser.ask("POST", "/adapters", content=b"x", headers=wishes)).status_code == 403
    async with stack(tmp_path) as s:
        headers = {**wishes, "x-csrf-token": (await s.client.get("/ui/api/session")).json()["token"]}
        assert (await s.client.post("/ui/api/adapters", content=b"x", headers=headers)).status_code == 403
    assert not (tmp_path / "uploads").exists()


def test_the_server_lets_archives_take_their_time(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert Gateway(config).uploads["/ui/api/adapters"] == config.adapters.max_bytes


PLACED = b'{"policy":"auto","planned":true,"engines":[],"adapters":[],"moves":[]}'


async def test_why_adapters_are_where_they_are_is_for_those_who_see_everything(tmp_path: Path) -> None:
    snapshot = snapshot_of(config_of(tmp_path, keys=KEYS), 1)
    async with FakeControl(tmp_path, snapshot) as control, stack(tmp_path, keys=KEYS, ready=False) as s:
        control.answers["/placement"] = PLACED
        boss, user, operator = [await sign_in(s, name) for name in ("boss", "user", "op")]
        answer = await boss.ask("GET", "/placement")
        assert (answer.status_code, answer.content) == (200, PLACED)
        for other in (user, operator):
            assert (await other.ask("GET", "/placement")).status_code == 403
        control.statuses["/placement"] = 404  # one of another version
        assert (await boss.ask("GET", "/placement")).status_code == 503


async def test_without_keys_anybody_on_this_machine_sees_why_adapters_are_where_they_are(
    tmp_path: Path,
) -> None:
    async with FakeControl(tmp_path, snapshot_of(config_of(tmp_path), 1)) as control:
        control.answers["/placement"] = PLACED
        async with stack(tmp_path, ready=False) as s:
            assert (await s.client.get("/ui/api/placement")).content == PLACED


async def test_without_a_control_plane_nobody_says_who_is_where(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answer = await s.client.get("/ui/api/placement")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "control_plane_gone")
