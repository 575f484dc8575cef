"""A model in plain code: text, streams, data, and another adapter from the next request on."""

from __future__ import annotations

import httpx

from gateway.client.connections import Network
from gateway.client.models.sync_model import Model
from gateway.client.transport import target_of
from tests.unit.gateway.client.conftest import URL
from tests.unit.gateway.client.test_transport import body_of, network, said

STREAM = b"".join(
    b'data: {"choices": [{"index": 0, "delta": {"content": "%b"}}]}\n\n' % piece for piece in (b"pi", b"p")
)


def answering(asked: list[dict[str, object]]) -> Network:
    """Notes what it is asked."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(body_of(request))
        if asked[-1].get("stream"):
            head = {"content-type": "text/event-stream"}
            return httpx.Response(200, content=STREAM + b"data: [DONE]\n\n", headers=head)
        return said('{"name": "pip"}')

    return network(answer)


def model(asked: list[dict[str, object]]) -> Model:
    return Model(answering(asked).link(target_of(URL, None)), "naming")


def test_text_data_and_streams_go_to_the_active_adapter() -> None:
    asked: list[dict[str, object]] = []
    made = model(asked)
    assert made.list_adapters() == ["concept", "naming"]
    assert made.generate_text("p", temperature=0) == '{"name": "pip"}'
    made.set_lora_adapter("concept")
    assert made.generate_modeling("p") == {"name": "pip"}
    made.set_lora_adapter(None)
    assert list(made.stream_text("p", system="s")) == ["pi", "p"]
    assert [one["model"] for one in asked] == ["naming", "concept", "smol"]
    assert (asked[0]["temperature"], asked[2]["stream"]) == (0, True)
