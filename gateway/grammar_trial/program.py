"""The process that tries grammars: compiled and walked through, each in a fork with bounds of its own.

Run by its path, it imports nothing of the gateway: a line of JSON in (`kind`, `text`), a line out (`end`).
The engine's own library, xgrammar, is loaded without the torch and transformers that only its other parts
need: 60 MB and a second in place of 400 and several.

What matters is not the compilation, which an engine does beside its work, but what each token costs after
it: that is paid between two steps of everybody's. It grows with the number of ways in which the text so far
can be read, whatever the vocabulary; so here a token is a byte, and no tokenizer is needed.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
import os
import random
import re
import resource
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

COMPILE_CPU_S = 6.0
WALK_CPU_S = 1.0
"""Sound ones take 0.002 to 0.05 s, of 20 kinds; what explodes took from 1.2 s to more than 20."""
PARTS_CPU_S = 1.0
"""Once its parts have taken so long, no further one is tried by itself."""
MEMORY_BYTES = 1024**3
"""Beside what the process has when a trial begins."""
STEPS = 400
WALKS = 3
STOP_TOKEN = 0
LETTERS = range(ord("a"), ord("z") + 1)
LETTERS_SHARE = 0.7
"""Of the steps that go by a letter where one may come: texts are mostly letters, random bytes are not."""

FINE, REFUSED, NOTHING, MEMORY = 0, 1, 2, 3
ENDS = {FINE: "fine", REFUSED: "refused", NOTHING: "nothing", MEMORY: "memory"}
"""`refused`: the library takes it for no grammar; the engine says that better. `nothing`: no text fits it."""

MOST_PARTS = 32
MARKS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()]", re.S)
"""What is escaped, a class of characters, or a bracket of a group."""
REPEATED = re.compile(r"[*+]|\{\d*,?\d*\}")
RULE = re.compile(r"^\s*([\w-]+)\s*::=", re.M)
"""Of a grammar in EBNF, its name."""

Try = Callable[[str, str], int]


def main() -> None:
    """Until standard input ends."""
    attempt = loaded()
    print(json.dumps({"end": "ready"}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps({"end": in_a_fork(attempt, asked["kind"], asked["text"])}), flush=True)


def in_a_fork(attempt: Try, kind: str, text: str) -> str:
    """How one trial ended: one of `ENDS`, `cpu` over its time, or `killed` and by which signal."""
    pid = os.fork()
    if pid == 0:
        code = REFUSED
        try:
            code = bounded(attempt, kind, text)
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "cpu" if number == signal.SIGPROF else f"killed by signal {number}"
    return ENDS.get(os.WEXITSTATUS(status), "refused")


def bounded(attempt: Try, kind: str, text: str) -> int:
    """A trial in this process, which a signal ends where it takes too long."""
    size = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BYTES, size + MEMORY_BYTES))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    os.nice(5)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
    try:
        signal.setitimer(signal.ITIMER_PROF, COMPILE_CPU_S)
        return attempt(kind, text)
    except MemoryError:
        return MEMORY
    except Exception as error:
        return MEMORY if "bad_alloc" in str(error) else REFUSED


def loaded() -> Try:
    """xgrammar's compiler and matcher, as one function. Raises ImportError where there is none."""
    compiler, info, matcher = _modules()
    numpy = importlib.import_module("numpy")  # xgrammar's own dependency, and so there where it is
    tokens = [bytes([byte]) for byte in range(256)]
    size = len(tokens) // 32
    known = info.TokenizerInfo(
        tokens, info.VocabType.RAW, vocab_size=len(tokens), stop_token_ids=[STOP_TOKEN]
    )

    def compiled(kind: str, text: str, root: str = "root") -> Any:
        signal.setitimer(signal.ITIMER_PROF, COMPILE_CPU_S)
        made = compiler.GrammarCompiler(known, max_threads=1, cache_enabled=False)
        if kind == "json":
            return made.compile_json_schema(text, any_whitespace=False, separators=(",", ":"))
        if kind == "regex":
            return made.compile_regex(text)
        if kind == "structural_tag":
            return made.compile_structural_tag(text)
        try:
            return made.compile_grammar(text, root_rule_name=root)
        except RuntimeError:
            return made.compile_lark(text)

    def walked(ready: Any, walks: int) -> int:
        signal.setitimer(signal.ITIMER_PROF, WALK_CPU_S)
        chance, mask = random.Random(0), numpy.zeros((1, size), dtype=numpy.int32)
        for number in range(walks):
            walk = matcher.GrammarMatcher(ready)
            for step in range(STEPS):
                walk.fill_next_token_bitmask(mask, 0)
                bits = numpy.unpackbits(mask[0].view(numpy.uint8), bitorder="little")
                open_ = [int(token) for token in numpy.flatnonzero(bits)]
                if not open_ and step == 0 and number == 0:
                    return NOTHING
                further = [token for token in open_ if token != STOP_TOKEN]  # it goes on while it can
                letters = [token for token in further if token in LETTERS]
                chosen = letters if letters and chance.random() < LETTERS_SHARE else further
                if not chosen or not walk.accept_token(chance.choice(chosen)):
                    break
        return FINE

    def attempt(kind: str, text: str) -> int:
        end = walked(compiled(kind, text), WALKS)
        began = time.process_time()
        for part in itertools.islice(parts(kind, text), MOST_PARTS) if end == FINE else ():
            if time.process_time() - began > PARTS_CPU_S:
                break
            try:
                walked(compiled(*part), 1)
            except RuntimeError:
                continue  # of the whole it is a part of something else
        return end

    return attempt


def parts(kind: str, text: str) -> Iterator[tuple[str, str, str]]:
    """What may explode by itself, each as kind, text and root rule: it is tried from its own beginning.

    A walk through the whole may not get there: what stands before may be long, or seldom come.
    """
    if kind == "grammar":
        yield from ((kind, text, rule) for rule in dict.fromkeys(RULE.findall(text)) if rule != "root")
    yield from (("regex", group, "") for group in hidden(kind, text))


def hidden(kind: str, text: str) -> Iterator[str]:
    """Groups of a pattern that are repeated and hold repetitions."""
    patterns = [text] if kind == "regex" else []
    pending = [json.loads(text)] if kind in ("json", "structural_tag") else []
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            held = one.get("pattern")
            patterns += [held] if isinstance(held, str) else []
            named = one.get("patternProperties")
            patterns += named if isinstance(named, dict) else []
            pending += one.values()
        elif isinstance(one, list):
            pending += one
    for pattern in dict.fromkeys(patterns):
        yield from groups(pattern)


def groups(pattern: str) -> Iterator[str]:
    """With what repeats them."""
    opened: list[int] = []
    for found in MARKS.finditer(pattern):
        if found[0] == "(":
            opened.append(found.start())
        elif found[0] == ")" and opened:
            begin = opened.pop()
            repeated = REPEATED.match(pattern, found.end())
            if repeated and any(mark in pattern[begin : found.end()] for mark in "*+{"):
                yield pattern[begin : repeated.end()]


def _modules() -> tuple[Any, Any, Any]:
    """Its parts, without what its package imports beside them."""
    spec = importlib.util.find_spec("xgrammar")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("xgrammar is not installed")
    sys.modules["torch"] = None  # type: ignore[assignment]  # so that tvm_ffi does without
    importlib.import_module("tvm_ffi")
    package = types.ModuleType("xgrammar")
    package.__path__ = list(spec.submodule_search_locations)
    tokenizers, tensors = types.ModuleType("transformers"), types.ModuleType("torch")
    vars(tokenizers).update(PreTrainedTokenizerBase=object, PreTrainedTokenizerFast=object)
    vars(tensors).update(int32="int32", Tensor=object, tensor=lambda *_, **__: None)
    sys.modules.update({"xgrammar": package, "transformers": tokenizers, "torch": tensors})
    importlib.import_module("xgrammar.load_binding")
    names = ("compiler", "tokenizer_info", "matcher")
    compiler, info, matcher = (importlib.import_module(f"xgrammar.{name}") for name in names)
    return compiler, info, matcher


if __name__ == "__main__":
    main()
