"""What routes of files and batches share: pages, limits, and parameters by name."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gateway.admission.api_keys import ANYBODY
from gateway.endpoints.resource import ResourceRequest, check_known, limit_of, page_of, query_of
from gateway.errors import InvalidRequest


def test_query_is_read_and_what_is_not_known_is_refused_by_name() -> None:
    assert query_of({"query_string": b"limit=5&after="}, ("limit", "after")) == {"limit": "5"}
    scope = {"path_params": {"id": "file-1"}}
    assert ResourceRequest(ANYBODY, cast(Any, None), scope, cast(Any, None)).named == "file-1"
    with pytest.raises(InvalidRequest, match="Unknown parameter 'limt'; known here: limit, after") as refused:
        query_of({"query_string": b"limt=5"}, ("limit", "after"))
    assert refused.value.param == "limt"
    check_known([], ())


@pytest.mark.parametrize("text", ["0", "101", "-1", "1.5", "", "x", "\u0661", "1" * 30])
def test_limit_is_a_whole_number_within_its_bounds(text: str) -> None:
    with pytest.raises(InvalidRequest, match="from 1 to 100"):
        limit_of({"limit": text}, 20, 100)
    assert [limit_of({"limit": one}, 20, 100) for one in ("1", "100")] == [1, 100]
    assert limit_of({}, 20, 100) == 20


def test_page_says_whether_there_are_more() -> None:
    items: list[dict[str, object]] = [{"id": str(number)} for number in range(3)]
    page = page_of(items, 2)
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("0", "1", True)
    assert page_of(items, 3)["has_more"] is False
    empty = page_of([], 3)
    assert (empty["data"], empty["first_id"], empty["last_id"]) == ([], None, None)
