"""schemathesis on `/openapi.json`: requests made from the document, answers held to it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from schemathesis import checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

HELD = [
    checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
REAL_PATHS = ("/v1/chat/completions", "/v1/messages", "/tokenize", "/v1/models/{model}")
"""Enough to see the real engine's answers; each is a request that it works on."""


def operations(url: str, only: Collection[str] = ()) -> Iterator[Any]:
    """Each one of the document, or of these paths."""
    for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        operation = found.ok()
        if not only or operation.path in only:
            yield operation


def hold(operation: Any, examples: int, bounds: Mapping[str, object], **call: Any) -> None:
    """The same requests in each run; every answer held to the document."""

    def asked(case: Any) -> None:
        with_a_known_model(case, bounds).call_and_validate(checks=HELD, **call)

    chosen = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
    )
    chosen(given(case=operation.as_strategy())(asked))()


def with_a_known_model(case: Any, bounds: Mapping[str, object]) -> Any:
    """Names that are made up would all be 404s; one in four stays."""
    if isinstance(case.body, dict) and "model" in case.body and len(str(case.body)) % 4:
        case.body = {**case.body, "model": "naming", **bounds}
    return case


def test_answers_are_as_documented(fake_url: str, subtests: pytest.Subtests) -> None:
    headers = {"authorization": "Bearer whole", "x-api-key": "whole"}
    for operation in operations(fake_url):
        with subtests.test(operation.label):
            hold(operation, 25, {}, headers=headers, timeout=10)


def test_answers_of_the_real_engine_are_as_documented(url: str, subtests: pytest.Subtests) -> None:
    for operation in operations(url, REAL_PATHS):
        bounds = {} if operation.path == "/tokenize" else {"max_tokens": 4}
        with subtests.test(operation.label):
            hold(operation, 8, bounds, timeout=240)


def test_document_is_valid(url: str) -> None:
    validate(httpx.get(f"{url}/openapi.json").json(), cls=OpenAPIV31SpecValidator)
