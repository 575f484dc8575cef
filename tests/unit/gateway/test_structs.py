"""Structs whose fields are set as those of any class."""

from __future__ import annotations

import gc
import weakref

import msgspec
import pytest

from gateway.http.request_cycle import Cycle
from gateway.relay.direct import DirectRelay
from gateway.relay.in_task import TaskRelay
from gateway.relay.incoming import CheckedCall, Incoming
from gateway.relay.passage import Passage
from gateway.relay.request_record import Exchange
from gateway.structs import changed_often

UNCOLLECTED = (str, bytes, int, float, bool)


@changed_often
class Node(msgspec.Struct, eq=False, weakref=True):
    held: list[int]
    other: object = None


def test_a_ring_of_them_is_collected_though_it_was_closed_later() -> None:
    node = Node([])
    node.other = node
    gone = weakref.ref(node)
    del node
    gc.collect()
    assert gone() is None


def test_a_field_that_there_is_not_is_refused() -> None:
    with pytest.raises(AttributeError, match="elsewhere"):
        Node([]).elsewhere = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("made", [Cycle, DirectRelay, TaskRelay, CheckedCall, Incoming, Passage, Exchange])
def test_what_a_request_makes_is_one_and_holds_what_is_collected(made: type[msgspec.Struct]) -> None:
    assert made.__setattr__ is object.__setattr__
    required = [field for field in msgspec.structs.fields(made) if field.required]
    one = made(**{field.name: 0 if field.type in UNCOLLECTED else [] for field in required})
    assert gc.is_tracked(one)
