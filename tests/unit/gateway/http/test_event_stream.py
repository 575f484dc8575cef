"""Streams on their way through: however they are cut, the same goes on and the same is counted."""

from __future__ import annotations

import itertools
import json
import random

import pytest

from gateway.http import event_stream
from gateway.http.event_stream import MAX_HELD_BYTES, EventStream, TokenUsage, data_in, usage_of
from gateway.metrics.exposition import INTER_TOKEN_S

DONE = b"data: [DONE]\n\n"
TRAPS = [
    '"choices":[]',
    '{"usage":{"completion_tokens":9},"choices":[]}',
    "data: ",
    "\n\ndata: [DONE]\n\n",
    "\r\n\r\n",
    "é\u2028😀",
]


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps({"id": "x", **fields}, separators=(",", ":")).encode() + b"\n\n"


def token(text: str, **fields: object) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}}], **fields)


def usage(completion: int | None = 3) -> bytes:
    return event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": completion, "total_tokens": 10})


TOKENS = b"".join(token(text) for text in ["Par", *TRAPS, "is"])
STREAM = TOKENS + usage() + DONE


def passed(events: EventStream, pieces: list[bytes]) -> bytes:
    return b"".join([*(events.feed(piece) for piece in pieces), events.rest()])


def cut(stream: bytes, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    at = sorted(chance.sample(range(1, len(stream)), chance.randrange(1, 40)))
    return [stream[a:b] for a, b in itertools.pairwise([0, *at, len(stream)])]


@pytest.mark.parametrize("withhold", [True, False])
@pytest.mark.parametrize("stream", [STREAM, STREAM.replace(b"\n\n", b"\r\n\r\n")], ids=["lf", "crlf"])
def test_any_cut_gives_the_same(stream: bytes, withhold: bool) -> None:
    end = b"\r\n\r\n" if b"\r\n" in stream else b"\n\n"
    expected = stream.replace(usage().replace(b"\n\n", end), b"") if withhold else stream
    cuts = [[stream], [stream[i : i + 1] for i in range(len(stream))]]
    cuts += [cut(stream, seed) for seed in range(300)]
    counts = set()
    for pieces in cuts:
        events = EventStream(withhold)
        assert passed(events, pieces) == expected
        assert events.usage == TokenUsage(7, 3)
        counts.add(events.events)
    assert counts == {stream.count(end) - withhold}


@pytest.mark.parametrize("stream", [STREAM, STREAM.replace(b"\n\n", b"\r\n\r\n")], ids=["lf", "crlf"])
def test_the_data_of_whole_events_is_the_same_for_any_cut(stream: bytes) -> None:
    stream = b": starting\n\n" + stream.replace(token("is"), b"event: named\n" + token("is"))
    expected = [line[6:].strip() for line in stream.split(b"\n") if line.startswith(b"data: ")]
    assert len(expected) == len(TRAPS) + 4
    for pieces in ([stream], *(cut(stream, seed) for seed in range(100))):
        events = EventStream(False)
        assert [data for piece in pieces for data in data_in(events.feed(piece))] == expected


def test_nothing_is_held_that_is_whole() -> None:
    events = EventStream(True)
    assert events.feed(token("a") + token("b")[:-1]) == token("a")
    assert events.feed(b"\n") == token("b")
    assert events.rest() == b""


def test_text_that_looks_like_usage_is_text() -> None:
    for text in TRAPS:
        events = EventStream(True)
        assert passed(events, [token(text), DONE]) == token(text) + DONE
        assert events.usage is None


@pytest.mark.parametrize("tail", [b"", b"data: {", b"data: " + b"x" * 500, usage()[:-1]])
def test_stream_without_its_end_is_passed_on_whole(tail: bytes) -> None:
    stream = TOKENS + tail
    for seed in range(20):
        assert passed(EventStream(True), cut(stream, seed)) == stream


def test_event_larger_than_the_bound_goes_on_unread() -> None:
    large = token("x" * (3 * MAX_HELD_BYTES))
    stream = token("a") + large + token("b") + usage() + DONE
    for size in (1 << 16, 1 << 20, len(stream)):
        events = EventStream(True)
        held = most = 0
        out = []
        for start in range(0, len(stream), size):
            piece = stream[start : start + size]
            out.append(events.feed(piece))
            held += len(piece) - len(out[-1])
            most = max(most, held)
        assert b"".join([*out, events.rest()]) == stream.replace(usage(), b"")
        assert events.usage == TokenUsage(7, 3)
        assert most <= MAX_HELD_BYTES + len(usage())


def test_usage_in_every_event_is_not_the_end() -> None:
    """`continuous_usage_stats`: the last event's usage counts, and only that event is without choices."""
    counted = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
    stream = token("a", usage=counted) + token("b", usage=counted) + usage() + DONE
    for withhold in (True, False):
        events = EventStream(withhold)
        whole = passed(events, cut(stream, 1))
        assert whole == (stream.replace(usage(), b"") if withhold else stream)
        assert events.usage == TokenUsage(7, 3)


@pytest.mark.parametrize(
    "odd",
    [
        b'data: {"choices":[],"usage":null}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":"7"}}\n\n',
        b'data: {"choices":[]\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":1},"x":"\xff"\n\n',
        b'event: x\ndata: {"choices":[],"usage":{"prompt_tokens":1}}\n\n',
        b': {"choices":[],"usage":{"prompt_tokens":1}}\n\n',
    ],
)
def test_event_that_is_no_usage_goes_on(odd: bytes) -> None:
    events = EventStream(True)
    assert passed(events, [token("a") + odd + DONE]) == token("a") + odd + DONE
    assert events.usage is None


def test_usage_without_completion_tokens_is_read() -> None:
    events = EventStream(True)
    assert passed(events, [usage(None)]) == b""
    assert events.usage == TokenUsage(7, None)


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b"{}", b'{"usage":3}', b'{"usage":{},"x":"\xff"'])
def test_answer_without_usage_has_none(answer: bytes) -> None:
    assert usage_of(answer) is None


def test_whole_answers_usage_is_read() -> None:
    answer = b'{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":5,"completion_tokens":2}}'
    assert usage_of(answer) == TokenUsage(5, 2)


def test_times_between_tokens_are_counted_by_their_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chat's role comes beside its first token, the end beside the last: neither is a time between two."""
    clock = iter([5.0, 5.0004, 5.012, 5.1, 5.1001, 5.1002])
    monkeypatch.setattr(event_stream, "perf_counter", lambda: next(clock))
    stream = EventStream(False)
    for text in ("role", "a", "b", "c", "usage", "[DONE]"):
        stream.feed(b"data: %s\n\n" % text.encode())
    counted = {
        bound: count for bound, count in zip((*INTER_TOKEN_S, None), stream.gaps, strict=True) if count
    }
    assert counted == {0.015: 1, 0.1: 1}
    assert stream.gap_sum_s == pytest.approx(0.1)


def test_the_end_of_a_stream_is_no_token_however_late_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([5.0, 5.5, 6.5, 7.5])
    monkeypatch.setattr(event_stream, "perf_counter", lambda: next(clock))
    stream = EventStream(True)
    for piece in (token("a"), token("b"), usage(), DONE):
        stream.feed(piece)
    assert (sum(stream.gaps), stream.gap_sum_s) == (1, 0.5)


def test_a_piece_of_an_event_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([5.0, 9.0])
    monkeypatch.setattr(event_stream, "perf_counter", lambda: next(clock))
    stream = EventStream(False)
    for piece in (b"data: a", b"\n\n", b"data:", b" b", b"\n\n"):
        stream.feed(piece)
    assert sum(stream.gaps) == 1
    assert stream.gap_sum_s == 4.0


FAULT = b'data: {"error": {"message": "/opt/engine/core.py at 10.0.0.7:5555", "code": 500}}\n\n'


def test_the_engines_own_words_do_not_go_on_however_they_are_cut() -> None:
    before, after = token("a") + token('data: {"error": {'), usage() + DONE
    stream = before + FAULT + after
    for pieces in [[stream], *(cut(stream, seed) for seed in range(100))]:
        events = EventStream(False)
        assert passed(events, pieces) == before
        assert events.broken
        assert events.events == 2
        assert FAULT.strip().startswith(events.fault.strip()[:70])


@pytest.mark.parametrize(
    "tail",
    [
        token("b") + FAULT,
        token("b") + usage(),
        token("b").replace(b"\n\n", b"\nevent: x\ndata: y\n\n") + usage(),
        token("b").replace(b"\n\n", b"\r\n\r\n") + usage(),
    ],
)
def test_a_piece_that_begins_as_a_token_is_looked_through_where_more_is_in_it(tail: bytes) -> None:
    for pieces in ([token("a"), tail], [token("a"), *cut(tail, 1)]):
        events = EventStream(True)
        assert passed(events, pieces) == token("a") + tail.replace(FAULT, b"").replace(usage(), b"")
        assert (events.broken, events.usage) == ((True, None) if FAULT in tail else (False, TokenUsage(7, 3)))
        assert events.events == 2


def test_a_choice_within_another_member_is_no_choice_of_the_events_own() -> None:
    inner = [{"index": 0}]
    events = EventStream(True)
    assert passed(events, [event(x={"choices": inner}, choices=inner)]) != b""
    counted = event(x={"choices": inner}, choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3})
    assert passed(events, [counted]) == b""
    assert events.usage == TokenUsage(7, 3)
