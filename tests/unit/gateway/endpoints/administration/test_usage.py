"""`/admin/usage`: an admin sees all, an operator its tenant's keys, anybody else nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.usage.database import UsageDatabase
from tests.support.stack import key_of, stack

pytestmark = pytest.mark.anyio
ROLES = {"root": {"role": "admin"}, "op": {"role": "operator", "tenant": "acme"}, "user": {}}
KEYS: dict[str, object] = {name: key_of(f"sk-{name}", **role) for name, role in ROLES.items()}


def fill(folder: Path) -> None:
    today = datetime.now(UTC).date().isoformat()
    database = UsageDatabase(folder)
    for key, tenant in (("a", "acme"), ("b", "")):
        database.add([(today, key, tenant, "naming", "naming@1", 1, 0, 7, 3, 0, 0)])
    database.close()


@pytest.mark.parametrize(("key", "seen"), [("root", ["a", "b"]), ("op", ["a"])])
async def test_each_sees_what_is_its(tmp_path: Path, key: str, seen: list[str]) -> None:
    fill(tmp_path)
    async with stack(tmp_path, keys=KEYS) as s:
        answer = await s.client.get(
            "/admin/usage?by=key,task&since=2d", headers={"authorization": f"Bearer sk-{key}"}
        )
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert [row["key"] for row in document["rows"]] == seen
        assert document["total"]["prompt_tokens"] == 7 * len(seen)
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("key", "query", "status"),
    [("user", "", 403), ("nobody", "", 401), ("root", "?by=colour", 400), ("root", "?tenant=acme", 400)],
)
async def test_others_are_refused(tmp_path: Path, key: str, query: str, status: int) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        headers = {"authorization": f"Bearer sk-{key}"}
        assert (await s.client.get(f"/admin/usage{query}", headers=headers)).status_code == status


async def test_without_keys_nobody_may(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        assert (await s.client.get("/admin/usage")).status_code == 403
