"""What was asked, the sums of it, and what they cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.config.document import Config
from gateway.errors import InvalidRequest, Unavailable
from gateway.usage.database import FILE, UsageDatabase
from gateway.usage.report import Question, question, usage_report

NOW = 1_795_910_400.0 + 3600
"""One in the morning of 2026-11-29, UTC."""


def config_of(folder: Path, price: object = None) -> Config:
    task = {"adapter": str(folder / "naming"), "price": price}
    return Config.model_validate(
        {"base": {"model": "m"}, "tasks": {"naming": task}, "state_dir": str(folder)}
    )


@pytest.mark.parametrize(
    ("since", "day"),
    [("30d", "2026-10-30"), ("24h", "2026-11-28"), ("30m", "2026-11-29"), ("2026-02-03", "2026-02-03")],
)
def test_a_time_means_the_whole_day_that_it_falls_in(since: str, day: str) -> None:
    assert question("key, task,key", since, NOW) == Question(("key", "task"), day)


def test_more_than_there_has_been_time_means_all() -> None:
    assert question("key", "999999d", NOW).since == "1970-01-01"


@pytest.mark.parametrize(
    ("by", "since"), [("key,colour", "1d"), ("", "1d"), ("key", "soon"), ("key", "2026-13-01")]
)
def test_another_question_is_refused_by_its_name(by: str, since: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        question(by, since, NOW)
    assert refused.value.param == ("since" if by == "key" else "by")


def used(folder: Path) -> None:
    database = UsageDatabase(folder)
    database.add(
        [
            ("2026-11-28", "a", "acme", "naming", "naming@1", 3, 0, 1_000_000, 2_000_000, 0, 0),
            ("2026-11-28", "a", "acme", "base", "", 1, 0, 500, 500, 0, 0),
            ("2026-11-28", "b", "", "naming", "naming@2", 1, 2, 0, 500_000, 1, 4),
        ]
    )
    database.close()


def test_sums_and_costs(tmp_path: Path) -> None:
    used(tmp_path)
    price = {"input_per_million": 0.5, "output_per_million": 2}
    report = usage_report(config_of(tmp_path, price), question("key", "7d", NOW))
    assert report == {
        "since": "2026-11-22",
        "by": ["key"],
        "rows": [
            {
                "key": "a",
                "requests": 4,
                "stage_calls": 0,
                "prompt_tokens": 1_000_500,
                "completion_tokens": 2_000_500,
                "cut_off": 0,
                "cut_off_events": 0,
                "cost": 4.5,
            },
            {
                "key": "b",
                "requests": 1,
                "stage_calls": 2,
                "prompt_tokens": 0,
                "completion_tokens": 500_000,
                "cut_off": 1,
                "cut_off_events": 4,
                "cost": 1.0,
            },
        ],
        "total": {
            "requests": 5,
            "stage_calls": 2,
            "prompt_tokens": 1_000_500,
            "completion_tokens": 2_500_500,
            "cut_off": 1,
            "cut_off_events": 4,
            "cost": 5.5,
        },
    }
    json.dumps(report)


def test_without_prices_nothing_is_said_to_cost_anything(tmp_path: Path) -> None:
    used(tmp_path)
    report = usage_report(config_of(tmp_path), question("task", "7d", NOW), "acme")
    assert [(row["task"], row["cost"]) for row in report["rows"]] == [  # type: ignore[attr-defined]
        ("base", None),
        ("naming", None),
    ]
    assert report["total"]["requests"] == 4  # type: ignore[index]


def test_nothing_used_is_no_error(tmp_path: Path) -> None:
    report = usage_report(config_of(tmp_path), question("key", "7d", NOW))
    assert report["rows"] == []
    assert report["total"]["prompt_tokens"] == 0  # type: ignore[index]


def test_a_file_that_cannot_be_read_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(Unavailable, match="cannot be read"):
        usage_report(config_of(tmp_path), question("key", "7d", NOW))
