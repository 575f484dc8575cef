"""A model in use: which adapter answers, and what is sent for text and for data."""

from __future__ import annotations

import pytest

from gateway.client.errors import AdapterNotLoaded, GatewayUnreachable, InvalidArgument
from gateway.client.model_list import catalogue_of
from gateway.client.models.handle import Handle, read_completion

CATALOGUE = catalogue_of(
    {
        "data": [
            {"id": "smol", "kind": "base", "root": "/m"},
            {"id": "naming", "kind": "task", "root": "naming@1"},
            {"id": "both", "kind": "pipeline", "root": None},
        ]
    }
)
ANSWER = {"choices": [{"message": {"content": '{"a": 1}'}, "finish_reason": "stop"}]}


def test_active_adapter_is_the_handles_own() -> None:
    first, second = Handle("u", CATALOGUE, "naming"), Handle("u", CATALOGUE, "naming")
    first._activate(CATALOGUE, None)
    assert (first.name, first.get_active_adapter()) == ("smol", None)
    assert (second.name, second.get_active_adapter()) == ("naming", "naming")
    assert Handle("u", CATALOGUE, "both").get_active_adapter() is None


@pytest.mark.parametrize(("name", "error"), [("nobody", AdapterNotLoaded), ("both", InvalidArgument)])
def test_adapter_that_cannot_be_had_leaves_the_one_before(name: str, error: type[Exception]) -> None:
    handle = Handle("u", CATALOGUE, "naming")
    with pytest.raises(error):
        handle._activate(CATALOGUE, name)
    assert handle.get_active_adapter() == "naming"


def test_text_is_asked_of_the_active_model() -> None:
    call = Handle("u", CATALOGUE, "naming")._text_call("p", "s", {"temperature": 0}, stream=True)
    body = call.body or {}
    assert body["model"] == "naming"
    assert body["messages"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "p"}]
    assert (body["temperature"], body["stream"]) == (0, True)


def test_data_is_asked_in_one_form_and_read_by_it() -> None:
    handle = Handle("u", CATALOGUE, "naming")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    call, read = handle._data_call(None, schema, "p", None, {})
    assert (call.body or {})["response_format"]["json_schema"]["schema"] == schema
    assert read(ANSWER) == {"a": 1}
    with pytest.raises(TypeError, match="not both"):
        handle._data_call(dict, schema, "p", None, {})


def test_what_is_no_completion_is_no_gateways() -> None:
    assert read_completion("u", ANSWER).text == '{"a": 1}'
    with pytest.raises(GatewayUnreachable, match="no lora-gateway"):
        read_completion("u", {"hello": "world"})
