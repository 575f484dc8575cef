"""The kinds of parameters are apart from each other, and counted by the tables' names."""

from __future__ import annotations

import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import Dialect
from gateway.dialects.kinds import COUNTED_MEMBERS, HARMLESS
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.registry import DIALECTS
from gateway.dialects.responses.dialect import RESPONSES


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_each_kind_of_parameter_is_apart_from_the_others(dialect: Dialect) -> None:
    honoured = dialect.passed | dialect.labels
    assert not dialect.ignored.keys() & honoured
    assert not dialect.ignored.keys() & dialect.refused.keys()
    assert not dialect.refused.keys() & honoured
    assert HARMLESS.keys() <= dialect.ignored.keys() | honoured | dialect.refused.keys()


def test_counted_names_are_of_the_tables() -> None:
    assert MESSAGES.label_of("metadata.team") == "metadata"
    assert RESPONSES.label_of("input[3]") == "input"
    assert RESPONSES.label_of("made.up") == "other"
    for member in COUNTED_MEMBERS:
        assert RESPONSES.label_of(member) == member
    assert CHAT.label_of("extra_body") == "extra_body"
