"""The proxies of docs/https.md, each run as it stands but for ports, names and certificates."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.fakes.fake_engine import Answer
from tests.fakes.plant import free_port
from tests.support.authority import Authority, Pair
from tests.support.stack import TASKS, Stack, stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio
FOLDER = Path(__file__).parents[3] / "docs" / "proxy"
PROXIES = ("nginx", "caddy")


def replaced(file: str, *changes: tuple[str, str]) -> str:
    text = (FOLDER / file).read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def nginx(folder: Path, port: int, gateway: int, pair: Pair) -> list[str]:
    main = f"pid {folder}/nginx.pid; daemon off; error_log stderr;"
    paths = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = replaced(
        "nginx.conf",
        ("worker_processes auto;", f"{main} worker_processes 1;"),
        ("http {", f"http {{ access_log off; {paths}"),
        ("127.0.0.1:8080", f"127.0.0.1:{gateway}"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/gateway.pem", str(pair.cert)),
        ("/etc/ssl/gateway.key", str(pair.key)),
    )
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, port: int, gateway: int, pair: Pair) -> list[str]:
    text = replaced(
        "Caddyfile",
        ("gateway.example {", f"https://localhost:{port} {{\n\ttls {pair.cert} {pair.key}"),
        ("127.0.0.1:8080", f"127.0.0.1:{gateway}"),
    )
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@asynccontextmanager
async def before(running: Stack, folder: Path, proxy: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway behind that proxy. Skips the test where the proxy is not installed."""
    program = shutil.which(proxy, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip(f"{proxy} is not installed")
    authority, port = Authority(folder), free_port()
    made = {"nginx": nginx, "caddy": caddy}[proxy](folder, port, running.port, authority.sign("proxy"))
    env = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "proxy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(program, *made[1:], stdout=log, stderr=log, env=env)
        url = f"https://localhost:{port}"
        context = ssl.create_default_context(cafile=authority.cert)
        try:
            async with httpx.AsyncClient(base_url=url, verify=context, timeout=20, trust_env=False) as client:

                async def answers() -> bool:
                    assert process.returncode is None, (folder / "proxy.log").read_text()
                    try:
                        return (await client.get("/health")).status_code == 200
                    except httpx.TransportError:
                        return False

                await eventually(answers, 20)
                yield client
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


@pytest.mark.parametrize("proxy", PROXIES)
async def test_streams_uploads_and_clients_that_leave_pass_a_proxy(tmp_path: Path, proxy: str) -> None:
    asked = {"model": "naming", "messages": [{"role": "user", "content": "cat"}], "stream": True}
    async with stack(tmp_path) as running, before(running, tmp_path, proxy) as client:
        hold = asyncio.Event()
        running.engine.answers[TASKS["naming"]] = Answer(["one", "two"], hold_token={1: hold})
        async with client.stream("POST", "/v1/chat/completions", json=asked) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["x-gateway-task"] == "naming"
            lines = answer.aiter_lines()
            async for line in lines:  # the first token comes while the second is held back
                if '"one"' in line:
                    break
            hold.set()
            rest = [line async for line in lines]
            assert any('"two"' in line for line in rest)

        hold.clear()
        async with client.stream("POST", "/v1/chat/completions", json=asked) as answer:
            async for line in answer.aiter_lines():
                if '"one"' in line:
                    break
        await running.engine.until(lambda: running.engine.aborts == 1)

        large = {**asked, "stream": False, "messages": [{"role": "user", "content": "x" * 3_000_000}]}
        hold.set()
        answer_ = await client.post("/v1/chat/completions", content=json.dumps(large))
        assert answer_.status_code == 200
        refused = await client.post("/v1/chat/completions", json={"model": "nobody", "messages": []})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
