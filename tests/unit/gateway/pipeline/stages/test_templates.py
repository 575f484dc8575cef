"""Templates in their sandbox."""

from __future__ import annotations

import pytest

from gateway.errors import EngineError
from gateway.pipeline.stages.stage_calls import call_body
from tests.unit.gateway.pipeline.test_compile import one


def rendered(prompt: str, **values: object) -> str:
    given = {"input": "i", "text": "t", "terms": [], "stages": {"first": {"items": 1}}, **values}
    messages = call_body(one(prompt), one(prompt).last, given, {}, None)["messages"]
    assert isinstance(messages, list)
    assert isinstance(messages[0], dict)
    return str(messages[0]["content"])


@pytest.mark.parametrize(
    "prompt",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ text.__class__ }}",
        "{{ (text|attr('__class__')) }}",
        "{{ ''['__class__'] }}",
        "{{ range.__globals__ }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{{ 'a' * 10**6 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ terms.append(1) }}",
        "{{ stages.first.missing }}",
        "{{ 1 / 0 }}",
        "{{ text + 1 }}",
        "{{ text.format_map.__globals__ }}",
        "{{ '{0.__class__}'.format(text) }}",
        "{{ namespace.__init__.__globals__ }}",
    ],
)
def test_an_attack_or_a_fault_in_a_template_is_a_500_that_names_the_stage(prompt: str) -> None:
    with pytest.raises(EngineError, match=r"pipelines\.p\.stages\.s\.prompt") as caught:
        rendered(prompt)
    assert caught.value.status == 500


def test_a_clients_text_is_never_a_template() -> None:
    assert (
        rendered("{{ text }} {{ input.a }}", text="{{ 7*7 }}", input={"a": "{% x %}"}) == "{{ 7*7 }} {% x %}"
    )


def test_a_key_of_the_data_wins_over_a_method() -> None:
    assert rendered("{{ stages.first.items }}") == "1"


def test_white_space_around_a_prompt_is_removed() -> None:
    assert rendered("\n {{ text }}\n\n") == "t"
