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
import json
import os
import random
import resource
import signal
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

COMPILE_CPU_S = 6.0
WALK_CPU_S = 1.0
"""Sound ones take 0.002 to 0.05 s, of 20 kinds; what explodes took from 1.2 s to more than 20."""
PARTS_CPU_S = 2.0
"""Once its parts have taken so long, no further one is tried by itself."""
MEMORY_BYTES = 1024**3
"""Beside what the process has when a trial begins."""
STEPS = 400
PROBE = 32
WORTH_A_LOOK = 2.0
"""A part is walked on where `PROBE` steps cost so many times what the first did; sound ones stay alike."""
WALKS = 3
STOP_TOKEN = 0
LETTERS = range(ord("a"), ord("z") + 1)
USUAL_SHARE = 0.7
"""Of the steps that go by a letter where one may come: texts are mostly letters, random bytes are not."""

FINE, REFUSED, NOTHING, MEMORY = 0, 1, 2, 3
ENDS = {FINE: "fine", REFUSED: "refused", NOTHING: "nothing", MEMORY: "memory"}
"""`refused`: the library takes it for no grammar; the engine says that better. `nothing`: no text fits it."""

Try = Callable[[str, str], int]


def main() -> None:
    """Answer each line of standard input, a grammar, with a line that says how its trial ended."""
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
            # Not `sys.exit`: a fork must not write out its parent's buffers.
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGVTALRM:  # whole it was fine; its parts together are too large to be tried
            return ENDS[FINE]
        return "cpu" if number == signal.SIGPROF else f"killed by signal {number}"
    return ENDS.get(os.WEXITSTATUS(status), "refused")


def bounded(attempt: Try, kind: str, text: str) -> int:
    """A trial in this process, which a signal ends where it takes too long."""
    # Address space, which is what the limit counts.
    size = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BYTES, size + MEMORY_BYTES))
    # Signals that are ignored stay so over `exec` and `fork`, and then a timer would end nothing.
    for number in (signal.SIGPROF, signal.SIGVTALRM):
        signal.signal(number, signal.SIG_DFL)
    # Behind clients' requests: waiting is no CPU time, which alone is bounded.
    os.nice(5)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
    try:
        # The signal's default ends the process; a handler of Python's would wait for the library to return.
        signal.setitimer(signal.ITIMER_PROF, COMPILE_CPU_S)
        return attempt(kind, text)
    except MemoryError:
        return MEMORY
    except Exception as error:  # whatever a library raises for what it does not take
        return MEMORY if "bad_alloc" in str(error) else REFUSED


def loaded() -> Try:
    """xgrammar's compiler and matcher, as one function. Raises ImportError where there is none."""
    return _Library().attempt


class _Library:
    """xgrammar, with a vocabulary of single bytes."""

    def __init__(self) -> None:
        self._compiler, info, self._matcher, self._grammar = _modules()
        self._numpy = importlib.import_module("numpy")  # xgrammar's own dependency, and so there where it is
        self._parts = _beside("parts")
        tokens = [bytes([byte]) for byte in range(256)]
        self._mask_words = len(tokens) // 32
        self._known = info.TokenizerInfo(
            tokens, info.VocabType.RAW, vocab_size=len(tokens), stop_token_ids=[STOP_TOKEN]
        )
        warnings.simplefilter("ignore")  # of the older form of structural tags, which engines take

    def attempt(self, kind: str, text: str) -> int:
        """Compile the grammar, walk it and try its parts; returns NOTHING where it allows no text, else FINE.

        Ends the process by a signal where that takes more than its share of CPU.
        """
        ready = self._compiled(kind, text)
        signal.setitimer(signal.ITIMER_PROF, WALK_CPU_S)
        # The same steps each time: the verdict is remembered for all who send the same grammar.
        chance = random.Random(0)
        for number in range(WALKS):
            if not self._walk(ready, chance) and number == 0:
                return NOTHING
        end = time.process_time() + PARTS_CPU_S
        for written in self._written(kind, text):
            self._try_parts(written, end)
        return FINE

    def _compiled(self, kind: str, text: str) -> Any:
        """As an engine does it."""
        # xgrammar 0.2.8 fails with its cache where a pattern repeats something over 128 times (design 75).
        made = self._compiler.GrammarCompiler(self._known, max_threads=1, cache_enabled=False)
        if kind == "json":
            return made.compile_json_schema(text, any_whitespace=False, separators=(",", ":"))
        if kind == "regex":
            return made.compile_regex(text)
        if kind == "structural_tag":
            return made.compile_structural_tag(*self._tags(text))
        try:
            return made.compile_grammar(text)
        except RuntimeError:
            return made.compile_lark(text)

    def _written(self, kind: str, text: str) -> Iterator[str]:
        """As xgrammar writes it. Of a schema its patterns alone: JSON's own marks tell the rest apart."""
        grammar = self._grammar.Grammar
        if kind in ("json", "structural_tag"):
            for pattern in self._parts.patterns(text):
                yield str(grammar.from_regex(pattern))
        if kind == "regex":
            yield str(grammar.from_regex(text))
        elif kind == "structural_tag":
            yield str(grammar.from_structural_tag(*self._tags(text)))
        elif kind == "grammar":
            try:
                yield str(grammar.from_ebnf(text))
            except RuntimeError:
                yield str(grammar.from_lark(text))

    def _tags(self, text: str) -> tuple[Any, ...]:
        """What the library is given: engines take its older form (`structures`) apart themselves."""
        asked = json.loads(text)
        if "structures" not in asked:
            return (text,)
        item = self._grammar.StructuralTagItem
        tags = [
            item(begin=one["begin"], schema=json.dumps(one["schema"]), end=one["end"])
            for one in asked["structures"]
        ]
        return tags, asked["triggers"]

    def _try_parts(self, written: str, end: float) -> None:
        """Each for itself, until so much CPU time has been used; one that is costly ends this process.

        The whole was fine, so that nothing else here refuses it.
        """
        signal.setitimer(signal.ITIMER_PROF, 0)
        # Another signal than a walk's: parts that take long to compile say nothing of following the grammar.
        signal.setitimer(signal.ITIMER_VIRTUAL, max(end - time.process_time(), 0.01))
        grammar, root, count = self._parts.with_parts(written)
        try:
            made = self._compiler.GrammarCompiler(self._known, max_threads=1, cache_enabled=False)
            ready = made.compile_grammar(grammar, root_rule_name=root)
        except RuntimeError:
            return
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        likely = self._parts.literals(written)
        order = [*range(count)]
        random.shuffle(order)  # nobody knows which come before the time is over
        for number in order:
            if time.process_time() > end:
                return
            first = b"%0*d" % (self._parts.TAG_BYTES, number)
            signal.setitimer(signal.ITIMER_PROF, WALK_CPU_S)
            self._walk(ready, random.Random(0), first)
            self._walk(ready, random.Random(0), first, likely)

    def _walk(
        self, ready: Any, chance: random.Random, first: bytes = b"", likely: frozenset[int] = frozenset()
    ) -> bool:
        """Through a text by chance, behind these bytes; whether there is one.

        With bytes that are `likely` it goes by those, and stays with one while it can: so a text is read in
        most ways. Through a part it goes on only while that costs ever more.
        """
        numpy = self._numpy
        mask = numpy.zeros((1, self._mask_words), dtype=numpy.int32)
        walk = self._matcher.GrammarMatcher(ready)
        for byte in first:
            walk.accept_token(byte)
        began, before_s, last = time.process_time(), 0.0, STOP_TOKEN
        for step in range(STEPS):
            walk.fill_next_token_bitmask(mask, 0)
            bits = numpy.unpackbits(mask[0].view(numpy.uint8), bitorder="little")
            open_ = [int(token) for token in numpy.flatnonzero(bits)]
            if not open_ and step == 0:
                return False
            further = [token for token in open_ if token != STOP_TOKEN]  # it goes on while it can
            if likely:
                usual = [last] if last in further else [token for token in further if token in likely]
            else:
                usual = [token for token in further if token in LETTERS]
            chosen = usual if usual and (likely or chance.random() < USUAL_SHARE) else further
            if not chosen:
                break
            last = chance.choice(chosen)
            if not walk.accept_token(last):
                break
            if first and step % PROBE == PROBE - 1:
                took_s, began = time.process_time() - began, time.process_time()
                if before_s and took_s < WORTH_A_LOOK * before_s:
                    break
                before_s = before_s or took_s
        return True


def _beside(name: str) -> Any:
    """A module that lies beside this one."""
    # By its path, since `-I` keeps the folder of the program off `sys.path`.
    spec = importlib.util.spec_from_file_location(name, os.path.join(os.path.dirname(__file__), f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _modules() -> tuple[Any, Any, Any, Any]:
    """Its parts, without what its package imports beside them."""
    spec = importlib.util.find_spec("xgrammar")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("xgrammar is not installed")
    sys.modules["torch"] = None  # type: ignore[assignment]  # so that tvm_ffi does without
    importlib.import_module("tvm_ffi")
    # Instead of its own `__init__`, which imports torch and transformers; the parts used need names alone.
    package = types.ModuleType("xgrammar")
    package.__path__ = list(spec.submodule_search_locations)
    tokenizers, tensors = types.ModuleType("transformers"), types.ModuleType("torch")
    vars(tokenizers).update(PreTrainedTokenizerBase=object, PreTrainedTokenizerFast=object)
    vars(tensors).update(int32="int32", Tensor=object, tensor=lambda *_, **__: None)
    sys.modules.update({"xgrammar": package, "transformers": tokenizers, "torch": tensors})
    importlib.import_module("xgrammar.load_binding")
    names = ("compiler", "tokenizer_info", "matcher", "grammar")
    compiler, info, matcher, grammar = (importlib.import_module(f"xgrammar.{name}") for name in names)
    return compiler, info, matcher, grammar


if __name__ == "__main__":
    main()
