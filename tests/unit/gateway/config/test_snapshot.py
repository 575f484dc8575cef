"""What the control plane tells the gateways: written and read again, and what every engine can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.snapshot import (
    EngineStatus,
    Snapshot,
    TaskStatus,
    VersionStatus,
    decode_snapshot,
    encode_snapshot,
    read_later,
    read_snapshot,
)

WHOLE = Snapshot(
    7,
    engines=[EngineStatus("engine-0", "http://x", state="ready", loaded=["a@1"], pid=5)],
    tasks={"a": TaskStatus({"adapter": "/a"}, [VersionStatus("a@1", 100.0)], previous="a@0")},
    retiring=["a@0"],
    faults={"tick": 1},
)


def test_snapshot_is_one_line_and_comes_back_whole() -> None:
    line = encode_snapshot(WHOLE)
    assert b"\n" not in line
    assert decode_snapshot(line) == WHOLE


def test_fields_of_a_later_release_are_passed_over_and_missing_ones_are_the_defaults() -> None:
    assert decode_snapshot('{"version": 3, "unheard_of": {}}') == Snapshot(3)


@pytest.mark.parametrize("line", ["", "[]", "nonsense", '{"version": "x"}', '{"engines": [{}]}'])
def test_what_is_no_snapshot_is_refused(line: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  msgspec's own words
        decode_snapshot(line)
    (tmp_path / "engine.json").write_text(line)
    assert read_snapshot(tmp_path / "engine.json") is None


def test_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_snapshot(tmp_path / "engine.json") is None
    (tmp_path / "engine.json").write_bytes(encode_snapshot(WHOLE))
    assert read_snapshot(tmp_path / "engine.json") == WHOLE


@pytest.mark.parametrize(
    ("told", "all_of_them"),
    [
        (["all", "forced"], "forced"),
        (["all", "all"], "all"),
        (["all", ""], ""),
        (["none", "forced"], "none"),
        ([], ""),
    ],
)
def test_tools_are_what_the_least_of_the_engines_can(told: list[str], all_of_them: str) -> None:
    engines = [EngineStatus(str(number), tools=one) for number, one in enumerate(told)]  # type: ignore[arg-type]
    assert Snapshot(engines=engines).tools == all_of_them


def test_one_engine_that_does_not_say_leaves_it_unknown() -> None:
    def snapshot(*told: bool | None) -> Snapshot:
        return Snapshot(engines=[EngineStatus(str(n), reasoning=one) for n, one in enumerate(told)])

    assert [snapshot(*told).reasoning for told in ((True, True), (True, False), (True, None), ())] == [
        True,
        False,
        None,
        None,
    ]
    assert not Snapshot(engines=[EngineStatus("a", priorities=True), EngineStatus("b")]).priorities


def failed(**fields: object) -> EngineStatus:
    return EngineStatus("engine-0", **{"state": "failed", "reason": "no memory", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("engines", "version", "reason"),
    [
        ([failed()], 8, "no memory"),
        ([failed()], 7, ""),
        ([failed(next_try_at=1.0)], 8, ""),
        ([failed(), EngineStatus("engine-1", state="ready")], 8, ""),
        ([failed(), failed()], 8, "no memory"),
        ([], 8, ""),
    ],
)
def test_engine_that_is_given_up_is_told_from_one_that_may_come(
    engines: list[EngineStatus], version: int, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "engine.json"
    assert read_later(file, before=0).given_up == ""
    file.write_bytes(encode_snapshot(Snapshot(version, engines=engines)))
    assert read_later(file, before=7).given_up == reason
