"""`lora-gateway usage`, for people, for spreadsheets and for programs."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from gateway.usage.database import UsageDatabase
from tests.unit.launch.conftest import Said, run_cli


@pytest.fixture
def config(tmp_path: Path) -> Path:
    document = {
        "base": {"model": "m"},
        "tasks": {"naming": {"adapter": "x", "price": {"input_per_million": 1, "output_per_million": 2}}},
        "state_dir": str(tmp_path),
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def usage(capsys: pytest.CaptureFixture[str], config: Path, *arguments: str) -> Said:
    return run_cli(capsys, "usage", "--config", str(config), *arguments)


def fill(folder: Path) -> None:
    today = datetime.now(UTC).date().isoformat()
    database = UsageDatabase(folder)
    database.add(
        [
            (today, "a", "acme", "naming", "naming@1", 1200, 0, 500_000, 250_000, 0, 0),
            (today, "", "", "naming", "naming@1", 1, 0, 7, 3, 0, 0),
        ]
    )
    database.close()


def test_for_people(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing since" in usage(capsys, config).out
    fill(config.parent)
    lines = usage(capsys, config, "--by", "key").out.splitlines()
    assert lines[0].split() == ["key", "requests", "prompt", "tokens", "completion", "tokens", "cost"]
    assert [line.split() for line in lines[1:]] == [
        ["-", "1", "7", "3", "0.0000"],
        ["a", "1,200", "500,000", "250,000", "1.0000"],
        ["all", "1,201", "500,007", "250,003", "1.0000"],
    ]


def test_no_figure_is_cut_off_where_it_is_narrow(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    database = UsageDatabase(config.parent)
    today = datetime.now(UTC).date().isoformat()
    labels = (today, "customer-frontend-production", "acme-corporation", "naming", "naming@0123456789ab")
    figures = (1_234_567, 345_678, 1_234_567_890, 987_654_321, 12_345, 678_901)
    database.add([(*labels, *figures)])
    database.close()
    lines = usage(capsys, config, "--by", "day,key,tenant,task,adapter").out.splitlines()
    said = [f"{figure:,}" for figure in figures]
    assert lines[1].split()[:-1] == [*labels, *said]
    assert lines[2].split()[:-1] == ["all", *said]
    assert len({len(line) for line in lines}) == 1


def test_for_spreadsheets(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(config.parent)
    rows = list(csv.DictReader(usage(capsys, config, "--by", "key,tenant", "--csv").out.splitlines()))
    assert [(row["key"], row["tenant"], row["prompt_tokens"], row["cost"]) for row in rows] == [
        ("", "", "7", "1.3e-05"),
        ("a", "acme", "500000", "1.0"),
    ]


def test_for_programs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(config.parent)
    document = json.loads(usage(capsys, config, "--json", "--state-dir", str(config.parent)).out)
    assert document["by"] == ["key", "task"]
    assert document["total"]["completion_tokens"] == 250_003


@pytest.mark.parametrize("wrong", [("--by", "colour"), ("--since", "soon")])
def test_a_wrong_option_is_named(
    config: Path, capsys: pytest.CaptureFixture[str], wrong: tuple[str, str]
) -> None:
    said = usage(capsys, config, *wrong)
    assert said.code == 2
    assert f"{wrong[0]}: {wrong[1]}: " in said.err
