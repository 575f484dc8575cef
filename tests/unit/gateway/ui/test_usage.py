"""Keys and limits, as far as somebody may see them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.admission.api_keys import ANYBODY, Principal
from gateway.admission.quotas.quotas import Quotas
from gateway.config.document import Config
from gateway.ui.usage import keys_of, limits_of
from gateway.ui.visible import Sight
from tests.support.stack import config_of, key_of

LIMIT = {"requests_per_minute": 10}


def config(folder: Path) -> Config:
    keys = {
        "a": key_of("a", tenant="acme", limits=LIMIT, task_limits={"naming": LIMIT}),
        "b": key_of("b", tasks=["concept"], limits=LIMIT),
    }
    document = config_of(folder, keys=keys, limits=LIMIT).model_dump(by_alias=True)
    document["tenants"] = {"acme": {"limits": LIMIT}}
    document["tasks"]["naming"]["limits"] = LIMIT
    return Config.model_validate(document)


@pytest.mark.parametrize(
    ("principal", "keys", "accounts"),
    [
        (ANYBODY, ["a", "b"], ["key:a", "key:a/naming", "key:b", "tenant:acme", "task:naming", "gateway"]),
        (Principal("b", frozenset({"concept"})), ["b"], ["key:b"]),
        (
            Principal("op", frozenset({"naming"}), role="operator", tenant="acme"),
            ["a"],
            ["key:a", "key:a/naming", "tenant:acme", "task:naming"],
        ),
    ],
)
def test_each_sees_its_part(
    tmp_path: Path, principal: Principal, keys: list[str], accounts: list[str]
) -> None:
    whole, sight = config(tmp_path), Sight(principal)
    assert [key["name"] for key in keys_of(whole, sight)] == keys
    quotas = Quotas(whole)
    quotas.reserve("a", "naming", 40, 10)
    shown = limits_of(quotas, whole, sight)
    assert [one["account"] for one in shown] == accounts
    used = {one["account"]: one["bounds"][0]["used"] for one in shown}  # type: ignore[index]
    assert all(count == (0 if account == "key:b" else 1) for account, count in used.items())
    quotas.close()


def test_without_limits_nothing_is_opened(tmp_path: Path) -> None:
    plain = config_of(tmp_path)
    assert limits_of(Quotas(plain), plain, Sight(ANYBODY)) == []
    assert not (tmp_path / "quotas.bin").exists()
