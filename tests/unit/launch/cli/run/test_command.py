"""`lora-gateway run`: lines to requests, answers to lines, and a run that goes on where it ended."""

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

from gateway.errors import ConfigError
from launch.cli.run.input_lines import BadLine, Request, read_request
from launch.cli.run.output import Kept
from launch.cli.run.requests import FAULTY_ATTEMPTS, Gateway
from launch.cli.run.results import Outcome, answered, unanswered
from tests.fakes.fake_engine import Answer
from tests.support.stack import Stack, stack

ROOT = Path(__file__).parents[5]
Document = dict[str, object]
TERMS = {"id": "fruit", "terms": ["apple", {"term": "pear", "gloss": "a fruit"}]}


def user(text: str) -> Document:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize(
    ("line", "path", "body", "custom_id"),
    [
        ("plain words", "/v1/chat/completions", user("plain words"), None),
        ('"a string"', "/v1/chat/completions", user("a string"), None),
        ("[1, 2]", "/v1/chat/completions", user("[1,2]"), None),
        ("17", "/v1/chat/completions", user("17"), None),
        (json.dumps(TERMS), "/v1/chat/completions", user(json.dumps(TERMS, separators=(",", ":"))), "fruit"),
        (
            '{"messages": [], "seed": 1, "model": "x"}',
            "/v1/chat/completions",
            {"model": "m", "messages": [], "seed": 1},
            None,
        ),
        ('{"prompt": "p", "id": 7}', "/v1/completions", {"model": "m", "prompt": "p"}, "7"),
        (
            '{"input": ["a"], "max_tokens": 3}',
            "/v1/chat/completions",
            {**user('["a"]'), "max_tokens": 3},
            None,
        ),
        (
            '{"custom_id": "c", "url": "/v1/embeddings", "body": {"model": "x", "input": "t"}}',
            "/v1/embeddings",
            {"model": "m", "input": "t"},
            "c",
        ),
    ],
)
def test_line_becomes_a_request(line: str, path: str, body: Document, custom_id: str | None) -> None:
    request = read_request(3, f"{line}\n".encode(), "m")
    assert (request.path, json.loads(request.body), request.custom_id) == (path, body, custom_id)
    assert request.id.startswith("run-3-")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"a": ', "not valid JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"messages": [], "stream": true}', "stream"),
        (b'{"url": "/v1/chat/completions", "body": 3}', "no object"),
        (b'{"url": "/v1/images", "body": {}}', "known here"),
    ],
)
def test_bad_line_is_refused(line: bytes, says: str) -> None:
    with pytest.raises(BadLine, match=says):
        read_request(1, line, "m")


def test_request_is_another_with_another_line_or_model() -> None:
    one = read_request(1, b"cat\n", "m")
    assert read_request(1, b"  cat \r\n", "m").digest == one.digest
    assert read_request(1, b"dog\n", "m").digest != one.digest
    assert read_request(1, b"cat\n", "n").digest != one.digest


def completion(*contents: object) -> bytes:
    choices = [{"message": {"content": content}, "finish_reason": "stop"} for content in contents]
    return json.dumps({"choices": choices, "model": "m@1", "usage": {"total_tokens": 3}}).encode()


@pytest.mark.parametrize(
    ("body", "output"),
    [
        (completion("Paris"), "Paris"),
        (completion('{"a": 1}'), {"a": 1}),
        (completion("{no json"), "{no json"),
        (completion("a", "b"), ["a", "b"]),
        (completion(None), {"content": None}),
        (b'{"choices": [{"text": "t", "finish_reason": "length"}]}', "t"),
    ],
)
def test_answer_becomes_an_output(body: bytes, output: object) -> None:
    outcome = answered(read_request(1, b"x", "m"), 200, body)
    record = json.loads(outcome.data)
    assert (record["output"], record["error"], outcome.reason) == (output, None, "")
    assert outcome.data.count(b"\n") == 1


def test_failures_say_why() -> None:
    request = read_request(1, b"x", "m")
    refused = answered(request, 400, b'{"error": {"message": "too long", "code": "c", "param": "p"}}')
    assert refused.reason == "400 c: too long"
    assert json.loads(refused.data)["error"] == {
        "status": 400,
        "message": "too long",
        "code": "c",
        "param": "p",
    }
    assert answered(request, 502, b"<html>").reason == "502 <html>"
    assert answered(request, 200, b"{}").reason == "the answer is not as it should be"
    assert unanswered(request, "gone").reason == "gone"


def test_openai_line_has_openais_result() -> None:
    line = b'{"custom_id": "c", "url": "/v1/completions", "body": {}}'
    good = json.loads(answered(read_request(1, line, "m"), 200, completion("x")).data)
    assert (good["custom_id"], good["response"]["status_code"], good["error"]) == ("c", 200, None)
    bad = json.loads(answered(read_request(1, line, "m"), 404, b'{"error": {"message": "no"}}').data)
    assert bad["response"] == {"status_code": 404, "body": {"error": {"message": "no"}}}


def outcome_of(number: int, *, good: bool = True) -> tuple[Outcome, str]:
    request = read_request(number, b"line %d" % number, "m")
    return answered(request, 200 if good else 400, completion(f"answer {number}")), request.digest


def test_results_are_kept_in_the_inputs_order(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with Kept(output) as kept:
        for number in (5, 1, 3):
            kept.add(*outcome_of(number, good=number != 3))
    with (tmp_path / "out.jsonl.part").open("ab") as part:
        part.write(b'{"id": "run-2-')  # killed while it wrote
    with Kept(output) as kept:
        assert [kept.done(number) for number in range(7)] == [False, True, False, False, False, True, False]
        assert kept.has(3)
        kept.add(*outcome_of(3))
        kept.finish()
    assert [json.loads(line)["output"] for line in output.read_text().splitlines()] == [
        "answer 1",
        "answer 3",
        "answer 5",
    ]
    assert list(tmp_path.iterdir()) == [output]
    with Kept(output) as kept:  # lines were added to the input
        assert not kept.in_part
        kept.add(*outcome_of(2))
        kept.finish()
    assert [json.loads(line)["output"][-1] for line in output.read_text().splitlines()] == list("1235")


def test_output_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text('{"id": "mine"}\n')
    with pytest.raises(ConfigError, match="holds something else"):
        Kept(output)
    assert output.read_text() == '{"id": "mine"}\n'


def test_two_runs_do_not_share_an_output(tmp_path: Path) -> None:
    with Kept(tmp_path / "out"), pytest.raises(ConfigError, match="another run"):
        Kept(tmp_path / "out")


Handler = Callable[[httpx.Request], httpx.Response]


async def asked(
    handler: Handler, requests: list[Request], attempts: int = 5
) -> tuple[list[Outcome], list[float]]:
    """What came of them, and the pauses that were made."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    gateway = Gateway("http://gateway", "k", 2, attempts, sleep=sleep, transport=httpx.MockTransport(handler))
    try:
        return [outcome async for _, outcome in gateway.outcomes(requests)], pauses
    finally:
        await gateway.close()


@pytest.mark.parametrize("status", [429, 503])
def test_busy_gateway_is_asked_again_when_it_says(status: int) -> None:
    answers = [httpx.Response(status, headers={"retry-after": "7"}), httpx.Response(status), None]

    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer k"
        return answers.pop(0) or httpx.Response(200, content=completion("x"))

    ((outcome,), pauses) = asyncio.run(asked(handler, [read_request(1, b"x", "m")]))
    assert not outcome.reason
    assert 7 <= pauses[0] < 9
    assert 2 <= pauses[1] < 3


@pytest.mark.parametrize(
    ("status", "attempts"), [(400, 1), (404, 1), (502, FAULTY_ATTEMPTS), (503, 5), (None, 5)]
)
def test_attempts_are_bounded_by_what_went_wrong(status: int | None, attempts: int) -> None:
    calls: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        if status is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(status, json={"error": {"message": "no"}})

    ((outcome,), _) = asyncio.run(asked(handler, [read_request(1, b"x", "m")]))
    assert outcome.reason
    assert len(calls) == attempts


# The command itself, against a gateway.


async def run(
    made: Stack, *arguments: object, interrupt: asyncio.Event | None = None
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    command = [sys.executable, "-m", "launch.cli.main", "run", *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(
        *(*command, "--url", f"http://127.0.0.1:{made.port}/v1/"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LORA_GATEWAY_API_KEY": "a"},
    )
    if interrupt is not None:
        await interrupt.wait()
        process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def outputs(file: Path) -> list[object]:
    return [json.loads(line)["output"] for line in file.read_text().splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("out*"))


def texts(made: Stack) -> list[object]:
    """What the engine was asked, in order."""
    return [request.json["messages"][-1]["content"] for request in made.engine.completions]  # type: ignore[index]


def test_run_answers_reports_and_goes_on(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("one\n\ntwo\nthree\n")
    bad = [True]

    def answer(asked: Document) -> Answer:
        text = str(asked["messages"][-1]["content"])  # type: ignore[index]
        if text == "two" and bad:
            return Answer(status=400, body=b'{"error": {"message": "not two", "code": "c"}}')
        return Answer([f"<{text}>"])

    async def main() -> None:
        async with asyncio.timeout(60), stack(tmp_path) as made:
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

    asyncio.run(main())


def test_interrupted_run_keeps_what_is_done(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f"text {number}\n" for number in range(10)))
    held, due = asyncio.Event(), asyncio.Event()

    def answer(asked: Document) -> Answer:
        text = str(asked["messages"][-1]["content"])  # type: ignore[index]
        return Answer([text], hold_head=held if text == "text 7" else None)

    async def main() -> None:
        async with asyncio.timeout(60), stack(tmp_path) as made:
            made.engine.answers["base"] = answer
            running = asyncio.create_task(
                run(made, "base", source, "-o", output, "--concurrency", 1, interrupt=due)
            )
            await made.engine.until(lambda: len(made.engine.completions) == 8)
            due.set()
            code, out, err = await running
            assert (code, out) == (130, "")
            assert f"7 of 10 lines are answered and kept in {output}.part" in err
            assert "Traceback" not in err
            await made.at_rest()  # what was asked was given up
            held.set()
            code, _, err = await run(made, "base", source, "-o", output)
            assert code == 0, err
            assert "7 of them by an earlier run" in err
            assert outputs(output) == [f"text {number}" for number in range(10)]
            assert len(made.engine.completions) == 11

    asyncio.run(main())


def test_what_cannot_be_asked_is_said_before_anything_is(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"

    async def main() -> None:
        async with asyncio.timeout(60), stack(tmp_path) as made:
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

    asyncio.run(main())
