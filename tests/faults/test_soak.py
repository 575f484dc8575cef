"""The soak's own eyes: it tells a right answer from another's, and finds what is left."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.soak.fake_traffic import FAULTS, GOOD
from tests.soak.findings import findings, memory
from tests.soak.http_client import Answer
from tests.soak.kinds import Kind
from tests.soak.picture import PANELS, draw
from tests.soak.real_traffic import REAL_KINDS
from tests.soak.watch import Held, Sample
from tests.support.stack import TASKS

OWN, OTHERS = "n1 w2 w3", "n2 w2 w3"
AT_REST = Held(20, 10, 4, 0, 0, 0, {})
CLEAN: dict[str, Any] = {"wrong": [], "reservations_left": 0, "memory_mib": {}}


def kind(name: str) -> Kind:
    return next(one for one in (*GOOD, *FAULTS) if one.name == name)


def answer(status: int, document: object, head: bytes = b"") -> Answer:
    return Answer(status, head, json.dumps(document).encode(), 0.01)


def chat(words: str, model: str = TASKS["naming"]) -> object:
    return {"model": model, "choices": [{"message": {"content": words}}]}


def stream(words: str, end: bytes = b"data: [DONE]\n\n") -> Answer:
    events = [
        {"model": TASKS["naming"], "choices": [{"delta": {"content": f" {word}"}}]} for word in words.split()
    ]
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    return Answer(200, b"", body + end, 0.01)


ERROR = b'data: {"error": {"message": "broken off"}}\n\n'


@pytest.mark.parametrize(
    ("name", "given", "verdict"),
    [
        ("chat", answer(200, chat(OWN)), "right"),
        ("chat", answer(200, chat(OTHERS)), "wrong"),
        ("chat", answer(200, chat(OWN, TASKS["concept"])), "wrong"),
        ("chat", answer(200, {"choices": []}), "wrong"),
        ("chat", answer(404, {"error": {}}), "wrong"),
        ("chat", answer(500, {"error": {}}), "wrong"),
        ("chat", answer(502, {"error": {}}), "failed"),
        ("chat", answer(429, {"error": {}}, b"Retry-After: 1\r\n"), "refused"),
        ("chat", answer(429, {"error": {}}), "wrong"),
        ("chat", None, "left"),
        ("stream", stream(OWN), "right"),
        ("stream", stream(OTHERS), "wrong"),
        ("stream", stream(OWN, b""), "wrong"),
        ("stream", stream(OWN, ERROR), "failed"),
        ("engine: html", answer(502, {"error": {}}), "told"),
        ("engine: html", answer(502, {}), "wrong"),
        ("engine: html", answer(200, chat(OWN)), "wrong"),
        ("engine: cut", stream(OWN, ERROR), "right"),
        ("engine: cut", stream(OWN), "wrong"),
        ("no such model", answer(404, {"error": {}}), "told"),
    ],
)
def test_a_verdict(name: str, given: Answer | None, verdict: str) -> None:
    assert kind(name).verdict(given, OWN) == verdict


def test_an_error_that_lies_in_the_request_is_told() -> None:
    pipeline = next(one for one in REAL_KINDS if one.name == "pipeline")
    assert (
        pipeline.verdict(Answer(502, b"", b'{"error":{"code":"stage_output_invalid"}}', 1.0), OWN) == "told"
    )
    assert pipeline.verdict(Answer(502, b"", b'{"error":{"code":"engine_error"}}', 1.0), OWN) == "failed"
    grouped = {"concepts": [{"members": ["n1", "w2"]}, {"members": ["w3"]}]}
    said = answer(200, {"choices": [{"message": {"content": json.dumps(grouped)}}]})
    assert pipeline.verdict(said, OWN) == "right"
    assert pipeline.verdict(said, OTHERS) == "wrong"


def test_what_is_left_is_found() -> None:
    assert findings(CLEAN, AT_REST, replace(AT_REST, descriptors=22)) == []
    for left in ("tasks", "in_flight", "waiting", "open_connections"):
        after = replace(AT_REST, **{left: getattr(AT_REST, left) + 1})
        assert findings(CLEAN, AT_REST, after) == [f"1 {left} left"]
    assert "descriptors left" in findings(CLEAN, AT_REST, replace(AT_REST, descriptors=23))[0]
    assert findings({**CLEAN, "reservations_left": 2}, AT_REST, AT_REST) == ["2 reservations left"]
    assert findings({**CLEAN, "wrong": ["chat: 200"]}, AT_REST, AT_REST) == ["wrong: chat: 200"]


def sample(at_s: float, resident_mib: float) -> Sample:
    return Sample(at_s, resident_mib, 20, 10, 4, 3, 0, 1, 500.0, 2.0, 9.0, dict(Counter(right=1)))


def test_memory_that_grows_is_found_and_memory_that_settles_is_not() -> None:
    grows = [sample(number, 80.0 + number) for number in range(40)]
    settles = [sample(number, min(80.0 + number, 85.0)) for number in range(40)]
    assert "memory grew" in findings({**CLEAN, "memory_mib": memory(grows)}, AT_REST, AT_REST)[0]
    assert not findings({**CLEAN, "memory_mib": memory(settles)}, AT_REST, AT_REST)
    assert memory(settles[:3]) == {}


def test_the_picture_has_each_series() -> None:
    drawn = draw([sample(0.0, 80.0), sample(5.0, 90.0)], "soak", "2 requests")
    assert drawn.count("<polyline") == sum(len(panel.lines) for panel in PANELS)
    assert "Resident memory" in drawn
