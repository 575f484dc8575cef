"""One call: what it asks, and what it makes of the answer."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from gateway.client import (
    InvalidArgument,
    ModelManager,
    OutputInvalid,
)
from gateway.client.calls import chat
from tests.unit.gateway.client.test_transport import body_of, network, said

pytestmark = pytest.mark.usefixtures("named_gateway")


class Named(BaseModel):
    name: str


class Formless:
    """Nothing that pydantic knows."""


def test_asked_form_goes_to_the_engine_and_is_checked() -> None:
    asked: list[dict[str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(body_of(request))
        return said('{"name": 3}')

    with ModelManager(network(answer)).use_model("naming") as model:
        with pytest.raises(OutputInvalid, match="name: Input should be a valid string"):
            model.generate_modeling("p", response_model=Named)
        with pytest.raises(OutputInvalid, match=r"\$\.name: 3 is not of type 'string'"):
            model.generate_modeling("p", schema=Named.model_json_schema())
        assert model.generate_modeling("p") == {"name": 3}
        with pytest.raises(OutputInvalid, match="Input should be a valid array"):
            model.generate_modeling("p", response_model=list[int])
        with pytest.raises(InvalidArgument, match="response_model"):
            model.generate_modeling("p", response_model=Formless)
        with pytest.raises(InvalidArgument, match="did you mean 'temperature'"):
            model.generate_text("p", temperatur=0)  # type: ignore[call-arg]
        with pytest.raises(InvalidArgument, match="prompt: "):
            model.generate_text([{"content": "x"}])
    forms = [one.get("response_format") for one in asked]
    assert isinstance(forms[0], dict)
    assert forms[0]["json_schema"]["name"] == "Named"
    assert forms[2] is None


@pytest.mark.parametrize("prompt", [5, None, [], ["apple"], [{"content": "x"}], b"x", {"role": "user"}])
def test_prompt_of_another_form_is_refused_by_name(prompt: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^prompt: give a text, or messages with role and content"):
        chat("naming", prompt, system=None, sampling={})
