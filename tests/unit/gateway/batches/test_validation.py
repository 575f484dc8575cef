"""A whole input file, before anything in it is run: each flaw with its line, and bounds on everything."""

from __future__ import annotations

import asyncio
import json
import threading
import traceback
from pathlib import Path

import pytest

from gateway.batches.input_lines import SLICE_BYTES, SLICE_LINES, Check
from gateway.batches.validation import MOST_FLAW_CHARS, MOST_FLAWS, Verdict, _Validator, validate
from gateway.errors import ModelNotFound
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"


def line(custom_id: str, model: str = "m") -> str:
    return (
        json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": {"model": model}}) + "\n"
    )


def validated(folder: Path, content: str, check: Check | None = None, most_lines: int = 100_000) -> Verdict:
    (folder / "input").write_text(content)
    paused: list[float] = []
    verdict = asyncio.run(
        validate(
            folder / "input",
            CHAT,
            check or (lambda model: None),
            most_lines=most_lines,
            most_line_bytes=500,
            turns=asyncio.Semaphore(1),
            pause=paused.append,
        )
    )
    assert all(one >= 0 for one in paused)
    return verdict


def flaws(verdict: Verdict) -> list[tuple[str, int | None]]:
    return [(flaw.code, flaw.line) for flaw in verdict.listed()]


def test_sound_file_has_no_flaw(tmp_path: Path) -> None:
    verdict = validated(tmp_path, "".join(line(f"r{number}") for number in range(1000)))
    assert (verdict.total, verdict.listed()) == (1000, [])


def test_the_error_of_a_model_that_every_line_misspells_keeps_none_of_them(tmp_path: Path) -> None:
    def check(model: str) -> None:
        raise ModelNotFound("no")

    (tmp_path / "input").write_text("".join(line(f"r{number}", "nope") for number in range(50)))
    validator = _Validator(tmp_path / "input", CHAT, check, 1000, 500)
    try:
        validator.slice(lambda seconds: None)
        known = validator._models["nope"]
    finally:
        validator.close()
    assert known is not None
    assert len(traceback.extract_tb(known.__traceback__)) < 5
    assert len(validator.verdict().listed()) == 50


async def test_what_is_given_up_is_looked_through_no_further(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("".join(line(f"r{number}") for number in range(1000)))
    looks = 0

    def given_up() -> bool:
        nonlocal looks
        looks += 1
        return looks > 1

    verdict = await validate(
        tmp_path / "input",
        CHAT,
        lambda model: None,
        most_lines=1000,
        most_line_bytes=500,
        turns=asyncio.Semaphore(1),
        given_up=given_up,
        pause=lambda seconds: None,
    )
    assert verdict.total == SLICE_LINES


def test_each_flaw_is_named_with_its_line(tmp_path: Path) -> None:
    content = line("a") + "nonsense\n" + line("a") + line("x" * 600) + "\n" + line("b")
    assert flaws(validated(tmp_path, content)) == [
        ("invalid_json_line", 2),
        ("duplicate_custom_id", 3),
        ("line_too_long", 4),
    ]
    assert "line 1 already" in validated(tmp_path, content).flaws[1].message


def test_empty_file_and_one_of_too_many_lines(tmp_path: Path) -> None:
    assert flaws(validated(tmp_path, "\n \n")) == [("empty_file", None)]
    many = "".join(line(str(number)) for number in range(4))
    assert flaws(validated(tmp_path, many, most_lines=3)) == [("too_many_requests", None)]
    assert flaws(validated(tmp_path, many, most_lines=4)) == []


def test_lines_behind_many_blank_ones_are_lines_too(tmp_path: Path) -> None:
    content = line("a") + "\n" * SLICE_BYTES + line("b") + "nonsense\n"
    verdict = validated(tmp_path, content)
    assert (verdict.total, flaws(verdict)) == (3, [("invalid_json_line", SLICE_BYTES + 3)])


def test_model_is_looked_up_once_and_refused_at_each_line(tmp_path: Path) -> None:
    looked: list[str] = []

    def check(model: str) -> None:
        looked.append(model)
        if model == "nobody":
            raise ModelNotFound("There is no model 'nobody'.", param="model")

    verdict = validated(tmp_path, line("a") + line("b", "nobody") + line("c", "nobody") + line("d"), check)
    assert looked == ["m", "nobody"]
    assert [(flaw.line, flaw.param) for flaw in verdict.flaws] == [(2, "body.model"), (3, "body.model")]


def test_of_more_flaws_than_are_listed_the_number_is_said(tmp_path: Path) -> None:
    verdict = validated(tmp_path, "x\n" * (MOST_FLAWS + 5))
    assert len(verdict.flaws) == MOST_FLAWS
    assert verdict.listed()[-1].message == "5 more lines have errors, which are not listed."


def test_of_made_up_models_no_more_are_looked_up_than_are_listed(tmp_path: Path) -> None:
    looked: list[str] = []

    def check(model: str) -> None:
        looked.append(model)
        raise ModelNotFound("no")

    lines = "".join(line(f"r{number}", f"m{number}") for number in range(10 * MOST_FLAWS))
    listed = validated(tmp_path, lines, check).listed()
    assert listed[-1].message == f"{9 * MOST_FLAWS} more lines have errors, which are not listed."
    assert len(looked) < 2 * MOST_FLAWS


async def test_of_many_files_one_slice_is_looked_through_at_a_time_and_each_has_its_turn(
    tmp_path: Path,
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("".join(line(f"{name}{number}") for number in range(1000)))
    began: list[str] = []
    goes_on = threading.Event()
    turns = asyncio.Semaphore(1)

    def look(name: str) -> asyncio.Task[Verdict]:
        def pause(_: float) -> None:
            began.append(name)
            goes_on.wait()

        return asyncio.create_task(
            validate(
                tmp_path / name,
                CHAT,
                lambda model: None,
                most_lines=2000,
                most_line_bytes=500,
                turns=turns,
                pause=pause,
            )
        )

    both = [look("a"), look("b")]
    await eventually(lambda: len(began) == 1 and bool(turns._waiters))
    assert began == ["a"]
    goes_on.set()
    assert [verdict.total for verdict in await asyncio.gather(*both)] == [1000, 1000]
    assert began[:4] == ["a", "b", "a", "b"]


def test_what_is_listed_is_bounded_by_its_length_too(tmp_path: Path) -> None:
    def check(model: str) -> None:
        raise ModelNotFound("x" * 10_000)

    listed = validated(tmp_path, "".join(line(f"r{number}") for number in range(50)), check).listed()
    assert sum(len(flaw.message) for flaw in listed) < MOST_FLAW_CHARS + 20_000
    assert listed[-1].message == "43 more lines have errors, which are not listed."
