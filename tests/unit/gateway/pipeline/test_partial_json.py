"""Elements of a list out of JSON that is still being written."""

from __future__ import annotations

import json

import pytest

from gateway.pipeline.partial_json import ElementScanner

HARD = {
    "before": {"concepts": [1], "deep": [[{"x": "]"}]]},
    'odd "key" \\': "}],",
    "concepts": [
        {"members": ['a"b', "c\\", "é犬😀", "tab\t", "\x01", "[{,:}]"], "n": {"m": [1, [2, {}]]}},
        "plain",
        "",
        7,
        -1.5e3,
        None,
        True,
        [],
        {},
        [[1], [2]],
    ],
    "after": ["concepts"],
}


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 10_000])
def test_every_element_once_however_the_text_is_cut(size: int, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(HARD, ensure_ascii=ascii_only, indent=indent)
    scanner = ElementScanner(["concepts"])
    found = [pair for at in range(0, len(text), size) for pair in scanner.feed(text[at : at + size])]
    assert found == [("concepts", element) for element in HARD["concepts"]]
    assert scanner.finish() == HARD


def test_an_object_is_yielded_with_its_closing_brace() -> None:
    scanner = ElementScanner(["concepts"])
    assert scanner.feed('{"concepts":[{"a":1') == []
    assert scanner.feed("}") == [("concepts", {"a": 1})]


def test_two_lists_are_told_apart() -> None:
    scanner = ElementScanner(["a", "b"])
    assert scanner.feed('{"a":[1,2],"c":[3],"b":[4]}') == [("a", 1), ("a", 2), ("b", 4)]


def test_text_around_the_object_is_passed_over() -> None:
    scanner = ElementScanner(["a"])
    assert scanner.feed('Here "it" is:\n```json\n') == []
    assert scanner.feed('{"a":[1]}\n``` {"a":[2]}') == [("a", 1)]
    assert scanner.finish() == {"a": [1]}


def whole(text: str) -> object:
    scanner = ElementScanner(["a"])
    scanner.feed(text)
    return scanner.finish()


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"a":[1', '{"a":1}', '{"b":[1]}', '{"a":[1],"a":[2]}', '{"a":[]]}', '{"a":[1}}']
)
def test_what_is_no_object_with_the_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"closed|no list|twice|line 1"):
        whole(text)


def test_an_element_that_is_no_json_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="line 1"):
        ElementScanner(["a"]).feed('{"a":[{"x":}')


def test_every_character_is_looked_at_a_bounded_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    import gateway.pipeline.partial_json as module

    parsed = 0
    real = module._parsed

    def counting(text: bytes) -> object:
        nonlocal parsed
        parsed += len(text)
        return real(text)

    monkeypatch.setattr(module, "_parsed", counting)
    text = json.dumps({"a": [{"member": "x" * 50, "n": n} for n in range(2000)]})
    scanner = ElementScanner(["a"])
    for character in text:
        scanner.feed(character)
    scanner.finish()
    assert parsed < 2.1 * len(text)
