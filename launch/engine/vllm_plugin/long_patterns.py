"""Schemas whose patterns repeat something over 128 times: xgrammar 0.2.8 fails on them where it caches.

With the cache, as vLLM 0.32 makes its compiler, `{"type": "string", "pattern": "^[a-z]{2,129}$"}` within a
schema ends in "Check failed: … per_rule_fsm_hashes", and the request in a 500. Without the cache the same
takes 0.03 s, and the grammar admits what the pattern says. So that is the second way; a request that both
refuse is answered with what the first one said.
"""

from __future__ import annotations

import copy
import functools
import importlib
import logging
from collections.abc import Callable
from typing import Any

BACKEND = "vllm.v1.structured_output.backend_xgrammar"
CLASS = "XgrammarBackend"
FAULT = "per_rule_fsm_hashes"
"""What the library's complaint names."""
_MENDED = "compiles_long_patterns"

log = logging.getLogger("vllm.lora_gateway")


def mend_backend(backend: Any) -> None:
    """Give the backend's class the second way; one that compiles by another name is left as it is."""
    compile_grammar = getattr(backend, "compile_grammar", None)
    if compile_grammar is not None and not hasattr(compile_grammar, _MENDED):
        backend.compile_grammar = with_second_way(compile_grammar, _uncached)


def with_second_way(
    compile_grammar: Callable[..., Any], second_compiler: Callable[[Any], Any]
) -> Callable[..., Any]:
    """`compile_grammar`, once more by another compiler where the first one's cache fails; raises as it."""

    @functools.wraps(compile_grammar)
    def compiled(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return compile_grammar(self, *arguments, **named)
        except RuntimeError as error:
            if FAULT not in str(error):
                raise
            first = error
        other = copy.copy(self)  # other threads compile with this one meanwhile
        other.compiler = second_compiler(self)
        try:
            return compile_grammar(other, *arguments, **named)
        except RuntimeError:
            raise first from None

    setattr(compiled, _MENDED, True)
    return compiled


def _uncached(backend: Any) -> Any:
    """A compiler for the same tokens; nothing of it is kept."""
    xgrammar = importlib.import_module("xgrammar")
    tokens = backend.compiler.compile_grammar(
        'root ::= "a"'
    ).tokenizer_info  # a compiler does not tell its own
    return xgrammar.GrammarCompiler(tokens, max_threads=8, cache_enabled=False)  # 8 as vLLM has it
