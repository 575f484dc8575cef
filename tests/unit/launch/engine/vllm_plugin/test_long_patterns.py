"""Patterns that repeat something over 128 times, by xgrammar itself as vLLM sets it up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launch.engine.vllm_plugin.long_patterns import mend_backend, with_second_way

xgrammar = pytest.importorskip("xgrammar")

BYTES = [bytes([byte]) for byte in range(256)]


class Backend:
    """As vLLM's: a compiler with a cache, and one way to compile."""

    def __init__(self) -> None:
        tokens = xgrammar.TokenizerInfo(
            BYTES, xgrammar.VocabType.RAW, vocab_size=len(BYTES), stop_token_ids=[0]
        )
        self.compiler = xgrammar.GrammarCompiler(tokens, max_threads=1, cache_enabled=True)

    def compile_grammar(self, schema: str) -> Any:
        return self.compiler.compile_json_schema(schema)


@pytest.fixture(name="backend")
def _backend() -> Backend:
    class Mended(Backend):
        compile_grammar = Backend.compile_grammar

    mend_backend(Mended)
    mend_backend(Mended)
    return Mended()


def admits(grammar: Any, text: str) -> bool:
    matcher = xgrammar.GrammarMatcher(grammar, terminate_without_stop_token=True)
    return bool(matcher.accept_string(json.dumps(text))) and matcher.is_completed()


@pytest.mark.parametrize("most", [128, 129, 158, 1000])
def test_a_long_repetition_admits_what_its_pattern_says(backend: Backend, most: int) -> None:
    grammar = backend.compile_grammar(json.dumps({"type": "string", "pattern": f"^[a-z]{{2,{most}}}$"}))
    assert [admits(grammar, "a" * size) for size in (1, 2, most, most + 1)] == [False, True, True, False]


def test_the_usual_compiler_is_the_one_that_stays(backend: Backend) -> None:
    usual = backend.compiler
    backend.compile_grammar('{"type": "string", "pattern": "^[a-z]{2,129}$"}')
    assert backend.compiler is usual


def test_what_is_no_grammar_is_refused_in_the_librarys_first_words(backend: Backend) -> None:
    with pytest.raises(RuntimeError) as plain:
        Backend().compile_grammar('{"type": 1}')
    with pytest.raises(RuntimeError) as mended:
        backend.compile_grammar('{"type": 1}')
    assert str(mended.value).rpartition("] ")[2] == str(plain.value).rpartition("] ")[2]


def test_what_both_refuse_is_told_as_the_first_said_it() -> None:
    said = iter(["per_rule_fsm_hashes: first", "second"])

    def compile_grammar(self: object) -> None:
        raise RuntimeError(next(said))

    with pytest.raises(RuntimeError, match="first"):
        with_second_way(compile_grammar, lambda _: None)(Backend())


def test_a_backend_of_another_kind_is_left_as_it_is() -> None:
    mend_backend(None)
    mend_backend(object)
