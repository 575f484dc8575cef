"""`lora-gateway run` as a whole: a run that goes on where it ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from launch.cli.run.input_lines import LineRequest
from launch.cli.run.requests import Gateway
from launch.cli.run.results import LineOutcome
from launch.machine.gateway_address import note_url
from launch.supervisor.lock import sole_launch
from tests.fakes.fake_engine import Answer
from tests.support.stack import Stack, stack
from tests.unit.launch.conftest import run_cli

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[5]


Document = dict[str, object]


Handler = Callable[[httpx.Request], httpx.Response]


async def asked(
    handler: Handler, requests: list[LineRequest], attempts: int = 5
) -> tuple[list[LineOutcome], list[float]]:
    """What came of them, and the pauses that were made."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    gateway = Gateway("http://gateway", "k", 2, attempts, sleep=sleep, transport=httpx.MockTransport(handler))
    try:
        return [outcome async for _, outcome in gateway.outcomes(requests)], pauses
    finally:
        await gateway.close()


async def run(
    made: Stack, *arguments: object, interrupt: asyncio.Event | None = None, stdin: bytes | None = None
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; `stdin` comes by a pipe."""
    command = [sys.executable, "-m", "launch.cli.main", "run", *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(
        *(*command, "--url", f"http://127.0.0.1:{made.port}/v1/"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE if stdin is not None else None,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LORA_GATEWAY_API_KEY": "a"},
    )
    ended = asyncio.create_task(process.communicate(stdin))
    if interrupt is not None:
        due = asyncio.create_task(interrupt.wait())
        await asyncio.wait((due, ended), return_when=asyncio.FIRST_COMPLETED)
        if not due.cancel():  # else it failed before
            process.send_signal(signal.SIGINT)
    out, err = await ended
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def outputs(file: Path) -> list[object]:
    return [json.loads(line)["output"] for line in file.read_text().splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("out*"))


def texts(made: Stack) -> list[object]:
    """What the engine was asked, in order."""
    return [request.json["messages"][-1]["content"] for request in made.engine.completions]  # type: ignore[index]


async def test_run_answers_reports_and_goes_on(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("one\n\ntwo\nthree\n")
    bad = [True]

    def answer(asked: Document) -> Answer:
        text = str(asked["messages"][-1]["content"])  # type: ignore[index]
        if text == "two" and bad:
            return Answer(status=400, body=b'{"error": {"message": "not two", "code": "c"}}')
        return Answer([f"<{text}>"])

    async with stack(tmp_path) as made:
        made.engine.answers["base"] = answer
        code, out, err = await run(made, "base", source, "-o", output)
        assert (code, out) == (1, "")
        assert "2 of 3 lines answered" in err
        assert "line 3: 400 c: not two" in err
        assert outputs(output) == ["<one>", None, "<three>"]
        bad.clear()
        code, out, err = await run(made, "base", source, "-o", output, "--json")
        assert code == 0, err
        summary = json.loads(out)
        assert (summary["kept"], summary["answered"], summary["failed"]) == (2, 1, 0)
        assert outputs(output) == ["<one>", "<two>", "<three>"]
        assert sorted(map(str, texts(made))) == ["one", "three", "two", "two"]
        code, _, err = await run(made, "base", source, "-o", output)
        assert (code, len(made.engine.completions)) == (0, 4)
        assert "complete already" in err
        source.write_text("one\n\ntwo!\nthree\n")
        code, _, err = await run(made, "base", source, "-o", output)
        assert code == 2
        assert f"{source}: line 3: is not what {output} was made from" in err
        assert names(tmp_path) == ["out.jsonl"]


async def test_interrupted_run_keeps_what_is_done(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f"text {number}\n" for number in range(10)))
    held, due = asyncio.Event(), asyncio.Event()

    def answer(asked: Document) -> Answer:
        text = str(asked["messages"][-1]["content"])  # type: ignore[index]
        if text != "text 7":
            return Answer([text])
        due.set()
        return Answer([text], hold_head=held)

    async with stack(tmp_path) as made:
        made.engine.answers["base"] = answer
        code, out, err = await run(made, "base", source, "-o", output, "--concurrency", 1, interrupt=due)
        assert (code, out) == (130, ""), err
        assert f"7 of 10 lines are answered and kept in {output}.part" in err
        assert "Traceback" not in err
        await made.at_rest()  # what was asked was given up
        held.set()
        code, _, err = await run(made, "base", source, "-o", output)
        assert code == 0, err
        assert "7 of them by an earlier run" in err
        assert outputs(output) == [f"text {number}" for number in range(10)]
        assert len(made.engine.completions) == 11


async def test_what_cannot_be_asked_is_said_before_anything_is(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    async with stack(tmp_path) as made:
        source.write_text('one\n{"a"\n')
        code, _, err = await run(made, "base", source, "-o", output)
        assert code == 2
        assert "line 2 is not valid JSON" in err
        source.write_text("one\n")
        code, _, err = await run(made, "bse", source, "-o", output)
        assert code == 2
        assert "Did you mean 'base'?" in err
        code, _, err = await run(made, "base", tmp_path / "none", "-o", output)
        assert code == 2
        assert "INPUT" in err
        assert not made.engine.completions
        assert not names(tmp_path)


@pytest.mark.parametrize("source", ["-", "/dev/stdin"])
async def test_a_pipe_is_looked_through_and_asked_though_it_gives_its_lines_once(
    source: str, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    async with stack(tmp_path) as made:
        code, _, err = await run(made, "base", source, "-o", output, stdin=b'one\n{"a"\n')
        assert (code, "line 2 is not valid JSON" in err, made.engine.completions) == (2, True, [])
        code, _, err = await run(made, "base", source, "-o", output, stdin=b"one\n\ntwo\n")
        assert (code, sorted(map(str, texts(made)))) == (0, ["one", "two"]), err
        assert len(outputs(output)) == 2
        code, _, err = await run(made, "base", source, "-o", output, stdin=b"one\n\ntwo\n")
        assert (code, "complete already: 2 lines" in err, len(texts(made))) == (0, True, 2)


def test_the_gateway_is_the_one_of_the_state_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text("one\n")
    with sole_launch(tmp_path):
        note_url(tmp_path, "http://127.0.0.1:1")
        files = (str(tmp_path / "in"), "-o", str(tmp_path / "out"))
        said = run_cli(capsys, "run", "base", *files, "--state-dir", str(tmp_path))
    assert (said.code, "http://127.0.0.1:1: no gateway answers there" in said.err) == (2, True)
