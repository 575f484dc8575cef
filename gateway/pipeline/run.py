"""Runs a pipeline: every stage and element as early as what it reads is there, under one cancel scope.

A stage waits for the earlier stages that its prompt or schema names, and for nothing else. A stage over a
list runs for an element once the element's JSON is closed, while its source still decodes; stages over
the same list follow one another on each element.

One task is the root; stages and elements run in its task group. Leaving `stream` or `run` in any way cancels
the root and waits for it, so no call outlives its request.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.errors import InvalidRequest, RequestError
from gateway.pipeline.compile import Fan, Pipeline, Stage
from gateway.pipeline.inputs import read_input
from gateway.pipeline.outlet import Outlet
from gateway.pipeline.output import check_format
from gateway.pipeline.output_document import DocumentWriter
from gateway.pipeline.partial_json import ElementScanner
from gateway.pipeline.settling.names import Names, is_free, numbered, unwanted
from gateway.pipeline.settling.partition import Partition
from gateway.pipeline.stages.sampling import shared_sampling
from gateway.pipeline.stages.stage_calls import (
    call_body,
    check_against_schema,
    invalid_output,
    parsed_answer,
    unusable,
)
from gateway.pipeline.stages.task_calls import Answer, Collected, TaskCaller
from gateway.pipeline.system import prepended
from gateway.pipeline.terms import in_slices, only
from gateway.pipeline.usage import Tally, Watch

Clock = Callable[[], float]
OnList = Callable[[Fan, int], None]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the answer's text, to be put behind those before it."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The end of the answer."""

    usage: JsonObject
    finish_reason: str


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """A whole answer: its text, what it took, and why it ended."""

    text: str
    usage: JsonObject
    finish_reason: str


async def run(
    pipeline: Pipeline,
    body: JsonObject,
    caller: TaskCaller,
    *,
    on_list: OnList | None = None,
    clock: Clock = time.perf_counter,
) -> PipelineResult:
    """The whole answer to one request's body. Raises RequestError."""
    outlet = Outlet(math.inf)
    runner = _Runner(pipeline, body, caller, outlet, on_list, None, clock)
    async with _running(runner, body) as root:
        await asyncio.wait([root])  # a cancellation is not handed on to it, where an error could hide it
        await root
    done = runner.done()
    return PipelineResult(outlet.take(), done.usage, done.finish_reason)


async def stream(
    pipeline: Pipeline,
    body: JsonObject,
    caller: TaskCaller,
    *,
    on_list: OnList | None = None,
    watch: Watch | None = None,
    clock: Clock = time.perf_counter,
) -> AsyncGenerator[Piece | Done, None]:
    """The answer's pieces, whose texts together are what `run` gives, then one Done. Raises RequestError.

    Nothing is yielded before the first element is finished, so what fails before that can still be answered
    with its own status. While what is yielded is not taken, no more than `outlet.MOST_CHARS` are made.
    `on_list` is told how many elements a list had, once it is closed, `watch` of every call.
    """
    outlet = Outlet()
    runner = _Runner(pipeline, body, caller, outlet, on_list, watch, clock)
    async with _running(runner, body) as root:
        # However it ends: a failure would else leave the reader waiting for a piece that never comes.
        root.add_done_callback(lambda _: outlet.end())
        while (text := await outlet.read()) is not None:
            yield Piece(text)
        await root
    yield runner.done()


@asynccontextmanager
async def _running(runner: _Runner, body: JsonObject) -> AsyncIterator[asyncio.Task[None]]:
    """The root of one request's run, which is over at the end. Raises RequestError."""
    await runner.read(body)
    root = asyncio.create_task(runner.main(), name=f"pipeline {runner.name}")
    try:
        yield root
    except BaseExceptionGroup as group:
        raise _first(group) from None
    finally:
        if not root.done():
            root.cancel()
            await asyncio.wait([root])
        if not root.cancelled():
            root.exception()  # seen, so that asyncio does not log what the client's leaving made moot


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the group: a task group adds them in the order in which they arrive."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


class _Runner:
    """One request's way through a pipeline."""

    def __init__(
        self,
        pipeline: Pipeline,
        body: JsonObject,
        caller: TaskCaller,
        outlet: Outlet,
        on_list: OnList | None,
        watch: Watch | None,
        clock: Clock,
    ) -> None:
        self.name = pipeline.name
        self._pipeline = pipeline
        self._caller = caller
        self._outlet = outlet
        self._on_list = on_list
        self._shared, self._cap = shared_sampling(body, pipeline.name)
        check_format(body, pipeline)
        self._lead = prepended(body, pipeline.name, pipeline.system)
        self._given: JsonObject = {}
        self._answers: dict[str, JsonValue] = {}
        self._done: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._fields: defaultdict[str, dict[int, JsonValue]] = defaultdict(dict)
        self._elements: defaultdict[tuple[str, str], list[JsonObject]] = defaultdict(list)
        self._partitions: dict[tuple[str, str], Partition] = {}
        self._names: defaultdict[str, Names] = defaultdict(Names)
        last = pipeline.last
        self._writer = (
            DocumentWriter(tuple(pipeline.fans_of[last.source].values())) if last.source is not None else None
        )
        self._finish_reason = "stop"
        self._tally = Tally(pipeline.stages, clock, watch)

    async def read(self, body: JsonObject) -> None:
        """Take the input, before anything runs; others have their turns meanwhile. Raises InvalidRequest."""
        pipeline = self._pipeline
        steps = read_input(body, pipeline.name, pipeline.max_input_terms, pipeline.max_input_members)
        given = await in_slices(steps)
        self._given = given.context()
        for stage in pipeline.stages:
            if (terms := stage.partition) is not None:
                words = [term.term for term in given.terms]
                self._partitions[stage.id, terms.field] = Partition(words, terms.members, terms.most)

    def done(self) -> Done:
        for stage in self._pipeline.stages:
            if stage.distinct:
                self._tally.settled(stage, self._names[stage.id].settled)
        return Done(self._tally.usage(), self._finish_reason)

    async def main(self) -> None:
        async with asyncio.TaskGroup() as group:
            for stage in self._pipeline.stages:
                if stage.source is None:
                    group.create_task(self._single(stage, group))

    async def _single(self, stage: Stage, group: asyncio.TaskGroup) -> None:
        """A stage without for_each: one call, read as it streams where something follows at once."""
        body = await self._body(stage, None)
        fans = self._pipeline.fans_of[stage.id]
        scanner = ElementScanner(fans)
        with self._tally.call(stage):
            if fans:
                answer = await self._scanned(stage, body, scanner, group)
            elif stage is self._pipeline.last:
                answer = await self._relayed(stage, body)
                self._finish_reason = answer.finish_reason or "stop"
            else:
                answer = await self._caller.answer(stage.task, body)
        self._tally.add(stage, answer)
        if not fans:
            self._finish(stage, parsed_answer(self._pipeline, stage, answer, body, self._cap))
            return
        try:
            document = scanner.finish()
        except ValueError as error:
            raise unusable(
                self._pipeline, stage, answer.finish_reason, body, self._cap, str(error)
            ) from error
        check_against_schema(self._pipeline, stage, document, body)
        if stage.partition is not None:
            document = await self._settled(stage, document, group)
        self._finish(stage, document)
        for fan in fans.values():
            if self._on_list is not None:
                self._on_list(fan, len(self._elements[fan.source, fan.field]))
            self._finish_lists(fan)
        if self._writer is not None and stage.id == self._pipeline.last.source:
            await self._outlet.write(partial(self._writer.source, document))

    async def _scanned(
        self, stage: Stage, body: JsonObject, scanner: ElementScanner, group: asyncio.TaskGroup
    ) -> Answer:
        """Stream a call and start each element's own calls as soon as it is closed."""
        fans = self._pipeline.fans_of[stage.id]
        collected = Collected()
        # Closed at once where another stage fails: the engine decodes on until a dropped generator is
        # collected.
        async with aclosing(self._caller.deltas(stage.task, body)) as deltas:
            async for delta in deltas:
                collected.add(delta)
                try:
                    closed = scanner.feed(delta.text)
                except ValueError as error:
                    raise invalid_output(self._pipeline, stage, str(error)) from error
                for field, element in closed:
                    self._start(fans[field], element, group)
        return collected.answer()

    async def _relayed(self, stage: Stage, body: JsonObject) -> Answer:
        """Stream the call whose text is the pipeline's answer."""
        collected = Collected()
        async with aclosing(self._caller.deltas(stage.task, body)) as deltas:
            async for delta in deltas:
                collected.add(delta)
                await self._outlet.write(partial(str, delta.text))
        return collected.answer()

    async def _settled(self, stage: Stage, document: JsonObject, group: asyncio.TaskGroup) -> JsonObject:
        """A whole answer as it counts; what no element has is asked for once more, and started too."""
        terms = stage.partition
        assert terms is not None
        partition = self._partitions[stage.id, terms.field]
        fan = self._pipeline.fans_of[stage.id][terms.field]
        more = await self._of_the_rest(stage, fan, partition.left) if partition.asks else []
        for item in partition.close(more):
            self._begin(fan, item, group)
        if partition.left:
            reason = f"{len(partition.left)} terms stand in no element of '{terms.field}'"
            raise invalid_output(self._pipeline, stage, reason)
        self._tally.settled(stage, partition.settled)
        return {**document, terms.field: partition.elements}

    async def _of_the_rest(self, stage: Stage, fan: Fan, left: Sequence[str]) -> list[JsonObject]:
        """The same stage's answer to the terms that are left over, as if there were no others."""
        body = await self._body(stage, None, {**self._given, "terms": only(self._given["terms"], left)})
        with self._tally.call(stage):
            answer = await self._caller.answer(stage.task, body)
        self._tally.add(stage, answer)
        document = parsed_answer(self._pipeline, stage, answer, body, self._cap)
        elements = document.get(fan.field) if isinstance(document, dict) else None
        listed = elements if isinstance(elements, list) else []
        return [element for element in listed if isinstance(element, dict)]

    def _start(self, fan: Fan, element: JsonValue, group: asyncio.TaskGroup) -> None:
        """An element is closed; what counts of it goes on its way."""
        elements = self._elements[fan.source, fan.field]
        bound = self._pipeline.max_items
        partition = self._partitions.get((fan.source, fan.field))
        # With a partition by what came: one without new members has no place, and a model may repeat itself.
        if (len(elements) if partition is None else partition.seen) == bound:
            raise InvalidRequest(
                f"stage '{fan.source}' gave more than {bound} elements in '{fan.field}'; send a smaller "
                f"input or raise pipelines.{self._pipeline.name}.max_items",
                code="fan_out_exceeded",
            )
        item: JsonObject | None = dict(element) if isinstance(element, dict) else {"value": element}
        if partition is not None and item is not None:
            item = partition.take(item)
        if item is not None:
            self._begin(fan, item, group)

    def _begin(self, fan: Fan, item: JsonObject, group: asyncio.TaskGroup) -> None:
        """Run the stages over one element, which has its place now."""
        elements = self._elements[fan.source, fan.field]
        elements.append(item)
        group.create_task(self._element(fan, len(elements) - 1, item))

    async def _element(self, fan: Fan, index: int, item: JsonObject) -> None:
        """The stages over one element, one after the other; each adds its answer to the element."""
        failed = False
        for stage in fan.stages:
            value: JsonValue = None
            if not failed:
                try:
                    value = await self._item_answer(stage, item)
                    if stage.distinct:
                        value = await self._distinct(stage, index, item, str(value))
                except RequestError:
                    if not self._pipeline.null_on_error:
                        raise
                    failed = True
            if failed:  # later stages would read the null
                self._tally.error(stage)
            if stage.distinct:
                # Also where there is none: those behind it wait to be told.
                self._names[stage.id].know(index, value if isinstance(value, str) else None)
            item[stage.into] = value
            self._fields[stage.id][index] = value
            # Before that nobody knows how many there will be.
            if self._done[fan.source].is_set():
                self._finish_lists(fan)
        if self._writer is not None and fan.source == self._pipeline.last.source:
            await self._outlet.write(partial(self._writer.element, fan, index, item))

    async def _distinct(self, stage: Stage, index: int, item: JsonObject, name: str) -> str:
        """The name where none before it is the same; else another, for which it is asked once more."""
        names = self._names[stage.id]
        taken = await names.before(index)
        if is_free(name, taken):
            return name
        became = name
        with suppress(RequestError):  # who answers instead of the engine may not know the parameter
            became = str(await self._item_answer(stage, item, {"bad_words": unwanted(taken)}))
        if not became or not is_free(became, taken):
            became = numbered(name, taken)
        names.say(name, became)
        return became

    async def _item_answer(self, stage: Stage, item: JsonObject, more: JsonObject | None = None) -> JsonValue:
        body = {**await self._body(stage, item), **(more or {})}
        with self._tally.call(stage):
            answer = await self._caller.answer(stage.task, body)
        self._tally.add(stage, answer)
        return parsed_answer(self._pipeline, stage, answer, body, self._cap)

    async def _body(
        self, stage: Stage, item: JsonObject | None, given: JsonObject | None = None
    ) -> JsonObject:
        """A stage's body, once the stages that it reads are finished; `given` instead of the input."""
        answers: dict[str, JsonValue] = {}
        for earlier in stage.needs:
            await self._done[earlier].wait()
            answers[earlier] = self._answers[earlier]
        values: dict[str, object] = {**(given or self._given), "stages": answers}
        if item is not None:
            values["item"] = item
        lead = self._lead if stage is self._pipeline.stages[0] else ""
        return call_body(self._pipeline, stage, values, self._shared, self._cap, lead)

    def _finish(self, stage: Stage, value: JsonValue) -> None:
        self._answers[stage.id] = value
        self._done[stage.id].set()

    def _finish_lists(self, fan: Fan) -> None:
        """Finish the stages over a list that is closed, whose every element they have answered."""
        count = len(self._elements[fan.source, fan.field])
        for stage in fan.stages:
            fields = self._fields[stage.id]
            if len(fields) == count and not self._done[stage.id].is_set():
                self._finish(stage, [*map(fields.get, range(count))])
