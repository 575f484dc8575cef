"""Bills of materials: every package of every lock, and every lock."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from launch.setup.lock_file import Pinned, read_lock
from launch.setup.sbom import WAYS, bill, bills, main, node_components, python_components

ROOT = Path(__file__).parents[4]
BILLS = bills(ROOT)


def test_every_lock_is_in_a_bill() -> None:
    locks = {file.name for file in (ROOT / "requirements").glob("*.txt")}
    assert {lock for way in WAYS.values() for lock in way} == locks


@pytest.mark.parametrize("way", WAYS)
def test_every_package_of_a_way_is_a_component(way: str) -> None:
    components = BILLS[way]["components"]
    assert isinstance(components, list)
    pinned = [one for lock in WAYS[way] for one in read_lock(ROOT / "requirements" / lock)]
    assert [(one["name"], one["version"]) for one in components] == [
        (one.name, one.version) for one in pinned
    ]
    assert all(one["hashes"] for one in components)


def test_a_bill_has_the_form_of_cyclonedx() -> None:
    made = bill("cpu", "1.2", python_components([Pinned("torch", "2.13.0+cpu", ("a" * 64,))]))
    assert (made["bomFormat"], made["specVersion"], made["version"]) == ("CycloneDX", "1.5", 1)
    serial = str(made["serialNumber"])
    assert re.fullmatch(
        r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", serial
    )
    assert made["components"] == [
        {
            "type": "library",
            "bom-ref": "pkg:pypi/torch@2.13.0%2Bcpu",
            "name": "torch",
            "version": "2.13.0+cpu",
            "purl": "pkg:pypi/torch@2.13.0%2Bcpu",
            "hashes": [{"alg": "SHA-256", "content": "a" * 64}],
        }
    ]


def test_the_same_packages_make_the_same_bill() -> None:
    assert bills(ROOT) == BILLS


def test_packages_for_node_are_told_once() -> None:
    inner = {"node_modules/a/node_modules/b": {"version": "1"}, "node_modules/b": {"version": "1"}}
    lock: dict[str, object] = {"packages": {"": {}, "node_modules/@x/a": {"version": "2"}, **inner}}
    assert [one["purl"] for one in node_components(lock)] == ["pkg:npm/%40x/a@2", "pkg:npm/b@1"]


def test_they_are_written_where_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "out")]) == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {f"sbom-{way}.cdx.json" for way in BILLS}
    assert json.loads((tmp_path / "out" / "sbom-cpu.cdx.json").read_text()) == BILLS["cpu"]
