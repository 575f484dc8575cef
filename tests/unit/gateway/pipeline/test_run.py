"""The stage runner: order, overlap, errors, cancelling, usage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from gateway.config.document import JsonObject
from gateway.errors import EngineError, InvalidRequest, RequestError
from gateway.pipeline.compile import Pipeline
from gateway.pipeline.outlet import MOST_CHARS
from gateway.pipeline.run import Done, Piece, run, stream
from gateway.pipeline.stages.task_calls import Answer, Delta, TaskCaller
from tests.support.pipeline_script import Script, chat, demo, pipeline, prompt_of
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio

ONE = '{"members":["a"],"definition":"first"}'
TWO = '{"members":["b"],"definition":"second"}'
WHOLE = f'{{"concepts":[{ONE},{TWO}]}}'
ANSWER = (
    '{"concepts":[{"name":"FIRST","definition":"first","members":["a"]},'
    '{"name":"SECOND","definition":"second","members":["b"]}]}'
)


def upper(body: JsonObject) -> str | RequestError:
    return f" {prompt_of(body).upper()}\n"


async def collect(pipe: Pipeline, body: JsonObject, caller: TaskCaller) -> tuple[list[str], Done]:
    texts: list[str] = []
    async for event in stream(pipe, body, caller):
        if isinstance(event, Done):
            return texts, event
        texts.append(event.text)
    raise AssertionError("no Done")


def test_a_whole_answer_puts_the_name_first_and_sums_the_usage() -> None:
    result = asyncio.run(run(demo(), chat("a\nb"), Script({"concept": [WHOLE]}, upper)))
    assert result.text == ANSWER
    assert result.finish_reason == "stop"
    usage = result.usage
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (25, 9, 34)
    stages = usage["stages"]
    assert isinstance(stages, list)
    extract, name = stages
    assert isinstance(extract, dict)
    assert isinstance(name, dict)
    assert (extract["adapter"], extract["calls"]) == ("concept@1", 1)
    assert (name["adapter"], name["calls"], name["errors"], name["prompt_tokens"]) == ("naming@1", 2, 0, 14)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_stream_is_the_same_bytes_as_a_whole_answer(size: int) -> None:
    text = '{"summary":"x, ]}","concepts":[' + ONE + "," + TWO + "]}"
    pieces: list[str | asyncio.Event] = [text[at : at + size] for at in range(0, len(text), size)]
    texts, _ = asyncio.run(collect(demo(), chat("a\nb"), Script({"concept": pieces}, upper)))
    whole = asyncio.run(run(demo(), chat("a\nb"), Script({"concept": [text]}, upper)))
    assert "".join(texts) == whole.text
    assert whole.text == ANSWER[:-1] + ',"summary":"x, ]}"}'


async def test_an_element_is_named_and_sent_while_the_first_stage_still_decodes() -> None:
    gate = asyncio.Event()
    script = Script({"concept": ['{"concepts":[' + ONE, gate, "," + TWO + "]}"]}, upper)
    async with aclosing(stream(demo(), chat("a\nb"), script)) as events:
        first = await anext(events)
        assert first == Piece('{"concepts":[' + '{"name":"FIRST","definition":"first","members":["a"]}')
        assert script.open == 1  # the first stage
        gate.set()
        rest = [event.text async for event in events if isinstance(event, Piece)]
    assert first.text + "".join(rest) == ANSWER


async def test_elements_are_sent_in_order_whatever_finishes_first() -> None:
    script = Script({"concept": [WHOLE]}, upper)
    script.hold["first"] = asyncio.Event()
    async with aclosing(stream(demo(), chat("a\nb"), script)) as events:
        pending = asyncio.ensure_future(anext(events))
        while {await script.called.get() for _ in range(1)} != {"second"}:
            pass
        assert not pending.done()
        script.hold["first"].set()
        texts = [(await pending), *[event async for event in events]]
    assert "".join(event.text for event in texts if isinstance(event, Piece)) == ANSWER


async def test_leaving_a_stream_cancels_every_call() -> None:
    before = asyncio.all_tasks()
    script = Script({"concept": ['{"concepts":[' + ONE, "," + TWO, asyncio.Event()]}, upper)
    script.hold["second"] = asyncio.Event()
    async with aclosing(stream(demo(), chat("a\nb"), script)) as events:
        await anext(events)
        while await script.called.get() != "second":
            pass
    assert (script.open, script.cancelled) == (0, 2)
    assert asyncio.all_tasks() == before


async def test_cancelling_a_whole_answer_cancels_every_call() -> None:
    before = asyncio.all_tasks()
    script = Script({"concept": ['{"concepts":[' + ONE, asyncio.Event()]}, upper)
    script.hold["first"] = asyncio.Event()
    answer = asyncio.create_task(run(demo(), chat("a"), script))
    while await script.called.get() != "first":
        pass
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer
    assert (script.open, script.cancelled) == (0, 2)
    assert asyncio.all_tasks() == before


def fails_first(body: JsonObject) -> str | RequestError:
    return EngineError("boom") if prompt_of(body) == "first" else upper(body)


async def test_on_error_fail_raises_the_error_and_cancels_the_rest() -> None:
    script = Script({"concept": ['{"concepts":[' + ONE, asyncio.Event()]}, fails_first)
    with pytest.raises(EngineError, match="boom"):
        await run(demo(), chat("a\nb"), script)
    assert (script.open, script.cancelled) == (0, 1)


def test_on_error_null_leaves_the_field_null_and_counts_it() -> None:
    script = Script({"concept": [WHOLE]}, fails_first)
    result = asyncio.run(run(demo("on_error: 'null'"), chat("a\nb"), script))
    names = [concept["name"] for concept in json.loads(result.text)["concepts"]]
    assert names == [None, "SECOND"]
    stages = result.usage["stages"]
    assert isinstance(stages, list)
    assert isinstance(stages[1], dict)
    assert stages[1]["errors"] == 1


async def test_more_elements_than_max_items_end_the_request_at_once() -> None:
    script = Script({"concept": ['{"concepts":[' + ONE + "," + TWO, asyncio.Event()]}, upper)
    with pytest.raises(InvalidRequest, match=r"pipelines\.p\.max_items") as caught:
        await run(demo("max_items: 1"), chat("a\nb"), script)
    assert caught.value.code == "fan_out_exceeded"
    assert script.open == 0


@pytest.mark.parametrize(
    ("text", "finish", "says"),
    [
        ('{"concepts":[' + ONE, "length", "defaults.max_tokens"),
        ("no JSON", "stop", "not closed"),
        ('{"concepts":7}', "stop", "no list 'concepts'"),
        ('{"concepts":[{"members":["a"],"definition":}]}', "stop", "no usable answer"),
        ('{"concepts":[{"members":["stranger"],"definition":"d"}]}', "stop", "stranger"),
    ],
)
def test_an_unusable_first_answer_is_a_502_that_says_why(text: str, finish: str, says: str) -> None:
    script = Script({"concept": [text]}, upper, finish=finish)
    with pytest.raises(EngineError, match=says) as caught:
        asyncio.run(run(demo(), chat("a\nb"), script))
    assert (caught.value.status, caught.value.code) == (502, "stage_output_invalid")


def test_an_answer_that_the_clients_own_max_tokens_cut_short_is_a_400() -> None:
    script = Script({"concept": ['{"concepts":[']}, upper, finish="length")
    with pytest.raises(InvalidRequest, match="max_tokens=9"):
        asyncio.run(run(demo(), chat("a\nb", max_tokens=9), script))


def test_an_empty_list_is_an_empty_answer() -> None:
    result = asyncio.run(run(demo(), chat("a"), Script({"concept": ['{ "concepts" : [ ] }']}, upper)))
    assert result.text == '{"concepts":[]}'


CHAIN = """
base: {model: b}
tasks: {t: {adapter: a}}
pipelines:
  p:
    stages:
      - {id: tidy, task: t, prompt: "tidy {{ text }}"}
      - {id: list, task: base, prompt: "{{ stages.tidy }}"}
      - {id: one, task: t, for_each: list.xs, into: one, prompt: "one {{ item.value }}"}
      - {id: two, task: t, for_each: list.xs, into: two, prompt: "two {{ item.one }}"}
%s
"""


def echo(body: JsonObject) -> str | RequestError:
    return prompt_of(body)


def test_stages_over_one_list_chain_on_each_element_and_plain_values_are_wrapped() -> None:
    script = Script({"base": ['{"xs":["a",', " 2]}"]}, echo)
    result = asyncio.run(run(pipeline(CHAIN % ""), chat("x"), script))
    assert json.loads(result.text) == {
        "xs": [
            {"one": "one a", "two": "two one a", "value": "a"},
            {"one": "one 2", "two": "two one 2", "value": 2},
        ]
    }
    assert ("base", "tidy x") in [(task, prompt_of(body)) for task, body in script.calls]


def test_a_last_stage_may_read_what_was_fanned_out_and_streams_its_own_text() -> None:
    last = "      - {id: sum, task: base, prompt: \"{{ stages.two | join(', ') }}\"}"
    text = CHAIN.replace("task: base", "task: lister").replace(
        "{t: {adapter: a}}", "{t: {adapter: a}, lister: {adapter: a}}"
    )
    script = Script({"lister": ['{"xs":[1,2]}'], "base": ["Sum", " of ", "it. "]}, echo)
    texts, _ = asyncio.run(collect(pipeline(text % last), chat("x"), script))
    assert texts == ["Sum", " of ", "it. "]
    assert prompt_of(script.calls[-1][1]) == "two one 1, two one 2"


def test_sampling_system_and_schema_reach_the_right_calls() -> None:
    script = Script({"concept": [WHOLE]}, upper)
    body = chat('["a\\"", "b\\\\", "a"]', seed=3, max_completion_tokens=100)
    with pytest.raises(EngineError):  # the terms differ from the scripted members
        asyncio.run(run(demo(), body, script))
    extract = script.calls[0][1]
    assert (extract["temperature"], extract["seed"], extract["max_tokens"]) == (0, 3, 100)
    assert '"enum": ["a\\"", "b\\\\", "a"]' in json.dumps(extract["response_format"])
    name = script.calls[1][1]
    assert (name["seed"], name["max_tokens"]) == (3, 24)
    assert "response_format" not in name


WAITS = """
base: {model: b}
tasks: {t: {adapter: a}}
pipelines:
  p:
    on_error: 'null'
    stages:
      - {id: list, task: base, prompt: "{{ text }}"}
      - {id: one, task: t, for_each: list.xs, into: one, prompt: "{{item.value}}/{{stages.list.xs|count}}"}
      - {id: two, task: t, for_each: list.xs, into: two, prompt: "{{ stages.one | join(' ') }}"}
"""


def test_a_stage_over_a_list_may_read_whole_answers_and_then_waits_for_them() -> None:
    script = Script({"base": ['{"xs":["a"', ',"b"]}']}, echo)
    result = asyncio.run(run(pipeline(WAITS), chat("x"), script))
    assert [element["two"] for element in json.loads(result.text)["xs"]] == ["a/2 b/2", "a/2 b/2"]


def test_after_a_null_the_later_stages_of_that_element_are_null_too() -> None:
    def fails_a(body: JsonObject) -> str | RequestError:
        return EngineError("boom") if prompt_of(body) == "a/2" else prompt_of(body)

    script = Script({"base": ['{"xs":["a","b"]}']}, fails_a)
    result = asyncio.run(run(pipeline(WAITS), chat("x"), script))
    assert [element["two"] for element in json.loads(result.text)["xs"]] == [None, "None b/2"]


def test_an_empty_list_still_finishes_the_stages_over_it() -> None:
    text = WAITS + '      - {id: end, task: t, prompt: "{{ stages.two | length }}"}\n'
    script = Script({"base": ['{"xs":[]}'], "t": ["none"]}, echo)
    assert asyncio.run(run(pipeline(text), chat("x"), script)).text == "none"
    assert prompt_of(script.calls[-1][1]) == "0"


async def test_an_answer_is_not_made_faster_than_it_is_taken() -> None:
    text = "base: {model: b}\ntasks: {naming: {adapter: a}}\n"
    alone = pipeline(text + "pipelines: {p: {stages: [{id: only, task: naming, prompt: '{{ text }}'}]}}")
    asked = 0

    class Fast(Script):
        async def deltas(self, task: str, body: JsonObject) -> AsyncGenerator[Delta, None]:
            nonlocal asked
            for _ in range(1000):
                asked += 1
                yield Delta("x" * 1000)

    async with aclosing(stream(alone, chat("a"), Fast({}, upper))) as events:
        await anext(events)
        await turns(2000)
        assert asked < 100  # 64 KiB and some
        assert (
            sum(len(event.text) for event in [e async for e in events] if isinstance(event, Piece)) == 999_000
        )


def test_a_whole_answer_may_be_longer_than_what_a_stream_makes_ahead() -> None:
    def long(body: JsonObject) -> str | RequestError:
        return "x" * MOST_CHARS

    result = asyncio.run(asyncio.wait_for(run(demo(), chat("a\nb"), Script({"concept": [WHOLE]}, long)), 30))
    assert len(result.text) > 2 * MOST_CHARS


async def test_a_client_that_leaves_a_whole_answer_is_told_of_no_error_in_its_place() -> None:
    """An element fails in the same turn of the loop: it is the leave that counts."""
    asked, fails = asyncio.Event(), asyncio.Event()

    class Failing(Script):
        async def answer(self, task: str, body: JsonObject) -> Answer:
            asked.set()
            await fails.wait()
            raise EngineError("it failed")

    running = asyncio.create_task(run(demo(), chat("a\nb"), Failing({"concept": [WHOLE]}, upper)))
    await asked.wait()
    fails.set()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


SETTLED = """
base: {model: b}
tasks:
  concept: {adapter: a}
  naming: {adapter: a}
pipelines:
  p:
    on_error: "null"
    stages:
      - id: extract
        task: concept
        partition: concepts.members
        prompt: "{% for term in terms %}{{ term.term }}\\n{% endfor %}"
        schema:
          type: object
          properties:
            concepts:
              type: array
              maxItems: 4
              items:
                type: object
                properties:
                  members: {type: array, items: {enum: {$from: terms}}}
                  definition: {type: string}
                required: [members, definition]
          required: [concepts]
      - id: name
        task: naming
        for_each: extract.concepts
        into: name
        distinct: true
        prompt: "{{ item.definition }}"
"""


def concepts(*groups: tuple[list[str], str]) -> str:
    listed = [{"members": members, "definition": definition} for members, definition in groups]
    return json.dumps({"concepts": listed}, separators=(",", ":"))


def stages_of(usage: JsonObject) -> list[JsonObject]:
    stages = usage["stages"]
    assert isinstance(stages, list)
    return [stage for stage in stages if isinstance(stage, dict)]


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_term_stands_in_one_element_and_what_is_left_out_is_asked_for_among_itself(size: int) -> None:
    text = concepts((["a", "b"], "first"), (["b", "a"], "nothing new"), (["b", "c"], "second"))
    pieces: list[str | asyncio.Event] = [text[at : at + size] for at in range(0, len(text), size)]

    def reply(body: JsonObject) -> str | RequestError:
        if prompt_of(body) != "d\ne":
            return upper(body)
        assert '{"enum": ["d", "e"]}' in json.dumps(body["response_format"])
        return concepts((["e"], "third"))

    script = Script({"concept": pieces}, reply)
    texts, done = asyncio.run(collect(pipeline(SETTLED), chat('["a","b","c","d","e"]'), script))
    assert json.loads("".join(texts))["concepts"] == [
        {"name": "FIRST", "definition": "first", "members": ["a", "b"]},
        {"name": "SECOND", "definition": "second", "members": ["c"]},
        {"name": "THIRD", "definition": "third", "members": ["e", "d"]},
    ]
    extract, name = stages_of(done.usage)
    assert extract["calls"] == 2
    assert extract["settled"] == [
        {"term": "b", "was": "repeated"},
        {"term": "a", "was": "repeated"},
        {"term": "d", "was": "left out"},
        {"term": "e", "was": "left out"},
    ]
    assert "settled" not in name


async def test_an_element_is_named_before_it_is_known_what_is_left_out() -> None:
    gate = asyncio.Event()
    pieces: list[str | asyncio.Event] = ['{"concepts":[' + ONE, gate, "]}"]
    script = Script(
        {"concept": pieces},
        lambda body: concepts((["b"], "rest")) if prompt_of(body) == "b" else upper(body),
    )
    async with aclosing(stream(pipeline(SETTLED), chat('["a","b"]'), script)) as events:
        first = await anext(events)
        assert first == Piece('{"concepts":[' + '{"name":"FIRST","definition":"first","members":["a"]}')
        gate.set()
        rest = "".join([event.text async for event in events if isinstance(event, Piece)])
    assert rest == ',{"name":"REST","definition":"rest","members":["b"]}]}'


def test_terms_that_no_element_takes_are_an_error() -> None:
    script = Script({"concept": ['{"concepts":[]}']}, lambda body: '{"concepts":[]}')
    with pytest.raises(EngineError, match="2 terms stand in no element of 'concepts'"):
        asyncio.run(run(pipeline(SETTLED), chat('["a","b"]'), script))


def test_a_name_that_a_sibling_has_is_asked_for_once_more_without_it() -> None:
    text = concepts((["a"], "one"), (["b"], "two"), (["c"], "three"))
    asked: list[object] = []

    def reply(body: JsonObject) -> str | RequestError:
        if "bad_words" in body:
            asked.append((prompt_of(body), body["bad_words"]))
            return "other" if prompt_of(body) == "two" else " FRUIT"
        return "Fruit" if prompt_of(body) == "one" else "fruit"

    script = Script({"concept": [text]}, reply)
    result = asyncio.run(run(pipeline(SETTLED), chat('["a","b","c"]'), script))
    names = [element["name"] for element in json.loads(result.text)["concepts"]]
    assert names == ["Fruit", "other", "fruit (2)"]
    assert len(asked) == 2
    assert asked[0] == ("two", ["Fruit", "fruit", "FRUIT"])
    assert stages_of(result.usage)[1]["settled"] == [
        {"name": "fruit", "was": "taken", "became": "other"},
        {"name": "fruit", "was": "taken", "became": "fruit (2)"},
    ]


def test_an_element_without_a_name_holds_up_nobody_and_a_refused_second_question_neither() -> None:
    text = concepts((["a"], "one"), (["b"], "two"), (["c"], "three"))

    def reply(body: JsonObject) -> str | RequestError:
        if prompt_of(body) == "one":
            return EngineError("down")
        return InvalidRequest("unknown parameter") if "bad_words" in body else "x"

    result = asyncio.run(run(pipeline(SETTLED), chat('["a","b","c"]'), Script({"concept": [text]}, reply)))
    assert [one["name"] for one in json.loads(result.text)["concepts"]] == [None, "x", "x (2)"]
