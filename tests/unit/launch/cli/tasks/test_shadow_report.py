"""The summary of a shadow's records, read as the gateway writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.relay.shadow.journal import Journal, ShadowRecord
from launch.cli.tasks.adapters import build_adapters_app
from launch.cli.tasks.shadow_report import read_report
from launch.machine.threads import in_thread
from tests.fakes.plant import timed_plant


def record(outcome: str, candidate: str = "naming@2", **fields: Any) -> ShadowRecord:
    return ShadowRecord(1.0, "naming", "naming@1", candidate, outcome, "r", **fields)


def test_report_of_nothing_is_none(tmp_path: Path) -> None:
    assert read_report(tmp_path, "naming") is None


def test_report_sums_what_the_gateway_wrote(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write("naming", [record("same", ms=[100.0, 150.0], chars=[10, 10], finish=["stop", "stop"])])
    paths = ["concepts[0].name", "concepts[1].name", "concepts.length"]
    different = record(
        "different",
        sampled=True,
        structured=True,
        paths=paths,
        ms=[100.0, 50.0],
        chars=[10, 40],
        finish=["stop", "length"],
    )
    journal.write("naming", [different, record("failed", reason="timeout", ms=[10.0])])
    report = read_report(tmp_path, "naming")
    assert report is not None
    assert (report.same, report.different, report.failed) == (1, 1, 1)
    assert (report.same_share, report.greedy, report.greedy_same_share) == (0.5, 1, 1.0)
    assert report.fields == {"concepts[].name": 1, "concepts.length": 1}
    assert (report.latency_ratio, report.length_ratio, report.finish_differs) == (1.0, 2.5, 1)
    assert report.reasons == {"timeout": 1}
    text = "\n".join(report.lines())
    for word in ("naming@2: 2 copies answered, 1 failed", "50.0 %", "concepts[].name 1", "timeout 1"):
        assert word in text


def test_report_is_of_one_candidate_the_last_by_default(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write("naming", [record("same"), record("different", "naming@3")])
    last, first = read_report(tmp_path, "naming"), read_report(tmp_path, "naming", "naming@2")
    assert last is not None
    assert first is not None
    assert (last.candidate, last.same_share) == ("naming@3", 0.0)
    assert (first.candidate, first.same_share) == ("naming@2", 1.0)
    assert read_report(tmp_path, "naming", "naming@9") is None


def test_report_takes_both_files_and_passes_over_half_a_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_file_bytes=300)
    for _ in range(3):
        journal.write("naming", [record("same")])
    with (tmp_path / "shadow" / "naming.jsonl").open("a") as file:
        file.write('{"at": 1, "cand')
    report = read_report(tmp_path, "naming")
    assert report is not None
    assert report.same == 3
    assert report.latency_ratio is None


@pytest.mark.anyio
async def test_show_prints_how_the_shadow_compares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        added = (await made.add("naming", "two", shadow=0.5)).json()
        state = tmp_path / "state"
        Journal(state).write("naming", [record("same", added["id"]), record("different", added["id"])])
        app = build_adapters_app()
        for options in ([], ["--json"]):
            arguments = ["show", "naming", "--state-dir", str(state), *options]
            await in_thread(lambda given: app(given, standalone_mode=False), arguments)
    text, _, document = capsys.readouterr().out.partition("\n{")
    assert "copies answered, 0 failed\n  the same answer: 50.0 %" in text
    assert json.loads("{" + document)["shadow_report"]["same_share"] == 0.5
