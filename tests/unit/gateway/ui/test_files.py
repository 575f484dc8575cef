"""The page's files: how they are sent, and what they may do in a browser."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from gateway.ui.files import PageFiles
from tests.support.stack import stack

pytestmark = pytest.mark.anyio


async def test_a_browser_is_led_to_the_page_and_programs_are_not(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        led = await s.client.get("/", headers=browser)
        assert (led.status_code, led.headers["location"]) == (303, "/ui/")
        for accept in ("*/*", "application/json", ""):
            answer = await s.client.get("/", headers={"accept": accept})
            assert answer.json()["name"] == "lora-gateway"
        assert (await s.client.get("/ui")).headers["location"] == "/ui/"


async def test_nothing_in_the_page_comes_from_elsewhere_or_stands_within_it(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        start = await s.client.get("/ui/")
        policy = start.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert start.headers["x-content-type-options"] == "nosniff"
        assert start.headers["referrer-policy"] == "no-referrer"
        assert "://" not in start.text
        assert not re.search(r"<script(?![^>]*src=)|<style|style=|\son\w+=", start.text)
        for name in re.findall(r'(?:src|href)="([^"]+)"', start.text):
            answer = await s.client.get(f"/ui/{name}")
            assert answer.status_code == 200, name
            assert "content-security-policy" in answer.headers


async def test_files_with_a_digest_in_their_name_last_and_others_are_asked_for_again(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        start = await s.client.get("/ui/")
        assert start.headers["cache-control"] == "no-cache"
        known = {"if-none-match": start.headers["etag"]}
        again = await s.client.get("/ui/", headers=known)
        assert (again.status_code, again.content) == (304, b"")
        assert (await s.client.get("/ui/", headers={"if-none-match": '"other"'})).status_code == 200
        script = re.findall(r'src="(page-[^"]+\.js)"', start.text)[0]
        answer = await s.client.get(f"/ui/{script}")
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-encoding"] == "gzip"
        plain = await s.client.get(f"/ui/{script}", headers={"accept-encoding": "gzip;q=0"})
        assert "content-encoding" not in plain.headers
        assert plain.content == answer.content
        head = await s.client.head(f"/ui/{script}")
        assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("path", ["nothing.js", "../app.py", "assets/index.html", "%2e%2e/app.py"])
async def test_only_the_pages_own_files_are_there(tmp_path: Path, path: str) -> None:
    async with stack(tmp_path) as s:
        raw = await s.raw(f"GET /ui/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        assert b" 404 " in raw.partition(b"\r\n")[0]


def test_the_page_is_under_150_kb_compressed() -> None:
    files = PageFiles()
    assert sum(len(asset.packed) for asset in files.assets.values()) < 150_000
    assert all(gzip.decompress(asset.packed) == asset.plain for asset in files.assets.values())
