"""Whose part of the prefix cache a request reads and fills."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.admission.api_keys import ANYBODY, Principal
from gateway.admission.isolation.cache_salts import CacheSalts, Parting

ACME, ACME_2, BETA = (
    Principal("a", tenant="acme"),
    Principal("a2", tenant="acme"),
    Principal("b", tenant="beta"),
)
ALONE, OTHER = Principal("c"), Principal("d")


def salt(salts: CacheSalts, principal: Principal, given: object = None) -> object:
    raw = None if given is None else msgspec.Raw(msgspec.json.encode(given))
    found = salts.salt_for(principal, raw)
    return None if found is None else msgspec.json.decode(found)


def salts(tmp_path: Path, parting: Parting = "tenant") -> CacheSalts:
    return CacheSalts(tmp_path, parting)


def test_a_tenants_keys_share_and_no_others(tmp_path: Path) -> None:
    one, another_worker = salts(tmp_path), salts(tmp_path)
    assert salt(one, ACME) == salt(one, ACME_2) == salt(another_worker, ACME)
    assert salt(one, ACME) != salt(one, BETA)
    assert salt(salts(tmp_path / "another gateway"), ACME) != salt(one, ACME)


def test_the_engine_takes_every_salt(tmp_path: Path) -> None:
    for found in (
        salt(salts(tmp_path), ACME),
        salt(salts(tmp_path), ACME, "x" * 1000),
        salt(salts(tmp_path), ALONE, "@/\\\0"),
    ):
        assert isinstance(found, str)
        assert len(found) == 43  # up to 128, without these four
        assert not set("@/\\\0") & set(found)


def test_a_clients_own_is_folded_into_whose_it_is(tmp_path: Path) -> None:
    one = salts(tmp_path)
    assert salt(one, ACME, "s") == salt(one, ACME_2, "s")
    assert len({str(salt(one, who, "s")) for who in (ACME, BETA, ALONE, OTHER)} | {"s"}) == 5
    assert salt(one, ACME, "s") != salt(one, ACME, "t")
    assert salt(one, BETA, salt(one, ACME)) != salt(one, ACME)  # another's, sent as it stands
    named_alike = Principal("acme")
    assert salt(one, named_alike, "s") != salt(one, ACME, "s")


def test_without_keys_or_tenants_all_share_as_before(tmp_path: Path) -> None:
    one = salts(tmp_path)
    assert salt(one, ANYBODY) is None
    assert salt(one, ANYBODY, "s") == "s"
    assert salt(one, ALONE) is None
    assert not any(tmp_path.iterdir())


def test_each_key_may_have_its_own(tmp_path: Path) -> None:
    one = salts(tmp_path, "key")
    assert len({str(salt(one, who)) for who in (ACME, ACME_2, ALONE, OTHER)}) == 4


def test_nobody_is_parted_where_that_is_asked_for(tmp_path: Path) -> None:
    assert salt(salts(tmp_path, "none"), ACME) is None
    assert salt(salts(tmp_path, "none"), ACME, "s") == "s"


@pytest.mark.parametrize("given", [5, "", ["s"], {"a": 1}])
def test_what_is_no_salt_is_left_to_the_engine(tmp_path: Path, given: object) -> None:
    assert salt(salts(tmp_path), ACME, given) == given


def test_a_state_directory_that_cannot_be_written_parts_them_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one = salts(tmp_path / "file")
    assert salt(one, ACME) == salt(one, ACME_2)
    assert salt(one, ACME) != salt(one, BETA)
