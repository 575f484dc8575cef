"""Any JSON for any parameter, any header: refused or taken, never a fault; what is taken goes on as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects.cost.grammars import grammars_of
from gateway.dialects.cost.sequences import sequences_of
from gateway.dialects.dialect import Dialect
from gateway.dialects.parameters import Limits
from gateway.dialects.registry import DIALECTS
from gateway.dialects.request_body import decode_body
from gateway.endpoints.asgi import Head
from gateway.errors import InvalidRequest
from gateway.routing.table import build_table
from tests.support.stack import config_of

EXAMPLES = settings(max_examples=150, deadline=None, derandomize=True, database=None)
EXAMPLES = settings(EXAMPLES, suppress_health_check=list(HealthCheck))
TEXT = st.text(max_size=12)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.sampled_from(
    ["auto", "none", "function", "json_schema", "text", "enabled", "user", "url", "https://x/y"]
)
MEMBERS = st.sampled_from(
    ["type", "content", "role", "name", "schema", "url", "image_url", "n", "parameters", "$ref"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(MEMBERS | TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_any_value_of_any_parameter(dialect: Dialect, tmp_path: Path) -> None:
    config = config_of(tmp_path)
    limits, route = Limits(config, lambda: 2048), build_table(config, {}).routes["naming"]
    names = st.sampled_from(
        sorted({*dialect.passed, *dialect.labels, *dialect.refused, *dialect.rules, "other"})
    )

    def check(fields: dict[str, Any]) -> None:
        body = json.dumps({"model": "naming", **fields}).encode()
        try:
            asked = decode_body(body)
            dialect.model_of(asked, "base")
            dialect.check_fields(asked, limits)
            sequences_of(asked, dialect.listed, {}, 64)
            grammars_of(asked)
            taken = {key: bytes(raw) for key, raw in asked.items()}
            dialect.apply_contract(asked, route)
            sent = json.loads(b"".join(dialect.encode_body(asked, route, len(body))))
        except InvalidRequest as refused:
            said.append(refused)
            return
        for key, raw in taken.items():
            if key not in ("model", "messages", "input", "store", "response_format", "text", "output_config"):
                assert sent[key] == json.loads(raw)

    said: list[InvalidRequest] = []
    given(st.dictionaries(names, VALUES, max_size=4))(EXAMPLES(check))()
    assert said
    assert {one.status for one in said} == {400}
    assert max(len(one.message) for one in said) < 5_000


def test_any_header() -> None:
    values = st.binary(max_size=40)
    known = st.sampled_from(
        [b"authorization", b"x-api-key", b"api-key", b"content-type", b"x-request-id", b"origin"]
    )

    def check(headers: list[tuple[bytes, bytes]]) -> None:
        head = Head(headers)
        assert head.request_id
        assert msgspec.json.encode(head.request_id.decode("ascii"))
        assert not {*b"\r\n\0"} & {*head.request_id}

    given(st.lists(st.tuples(known | values, values), max_size=6))(EXAMPLES(check))()
