"""Every dialect once, by its path and its name."""

from __future__ import annotations

from gateway.dialects.registry import DIALECTS, unknown_defaults


def test_each_has_a_path_and_a_name_of_its_own() -> None:
    assert len({dialect.path for dialect in DIALECTS}) == len({d.name for d in DIALECTS}) == len(DIALECTS)
    assert {b"/v1/chat/completions", b"/v1/completions", b"/v1/messages", b"/v1/responses"} <= {
        dialect.path for dialect in DIALECTS
    }


def test_no_parameter_is_of_two_kinds_in_one_dialect() -> None:
    for dialect in DIALECTS:
        assert not dialect.passed & dialect.refused.keys(), dialect.name
        assert not dialect.passed & dialect.ignored.keys(), dialect.name


def test_a_default_is_known_where_any_api_has_its_parameter() -> None:
    assert unknown_defaults(["echo", "reasoning_effort", "min_p"]) == {}
    assert list(unknown_defaults(["temprature", "top_p"])) == ["temprature"]
