"""Which gateway there is, and what is said where there is none."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest

from gateway.client import (
    GatewayUnreachable,
    ModelManager,
    NotConfigured,
)
from gateway.client.connections import Network
from gateway.client.transport import Link
from tests.unit.gateway.client.conftest import URL
from tests.unit.gateway.client.test_transport import body_of, network, said

pytestmark = pytest.mark.usefixtures("named_gateway")


def test_nobody_at_the_address_is_told() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    transport = httpx.MockTransport(refuse)
    manager = ModelManager(Network(lambda target: Link(target, transport)))
    with pytest.raises(GatewayUnreachable, match=rf"at {URL} \(Connection refused\): check the address"):
        manager.configure_models_sync(url=URL)


def test_call_before_configure_models_is_told_what_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORA_GATEWAY_URL")
    manager = ModelManager()
    with pytest.raises(NotConfigured, match="call configure_models first"), manager.use_model("naming"):
        pass
    with pytest.raises(NotConfigured):
        asyncio.run(manager.get_model_status("base"))


def test_closed_in_the_moment_in_which_it_is_configured_it_can_be_configured_again() -> None:
    manager = ModelManager(network(lambda request: said("word")))
    core = manager._core

    class Overtaken:
        """The core's lock, after whose first release with a gateway in force another thread closes."""

        def __init__(self) -> None:
            self.lock, self.closing = threading.Lock(), True

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()
            if self.closing and core._link is not None:
                self.closing = False
                core.close()

    core._lock = Overtaken()  # type: ignore[assignment]
    manager.configure_models_sync(url="http://elsewhere:1")
    manager.configure_models_sync(url="http://elsewhere:1")
    assert manager.url == "http://elsewhere:1"


def test_base_is_found_under_its_public_name_and_as_base() -> None:
    asked: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(body_of(request))
        return said('{"a": 1}')

    manager = ModelManager(network(answer))
    for name in ("base", "smol"):
        with manager.use_model(name) as model:
            assert model.generate_modeling("p") == {"a": 1}
    assert [one["model"] for one in asked if isinstance(one, dict)] == ["smol", "smol"]
    assert all(one["response_format"] == {"type": "json_object"} for one in asked if isinstance(one, dict))
