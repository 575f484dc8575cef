"""Which grammars an engine may be given: each is tried once, and its end is remembered by its digest."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, OrderedDict
from collections.abc import Sequence

from gateway.admission.quotas.new_schemas import NewSchemas
from gateway.dialects.cost.grammars import ALWAYS, Grammar, grammars_of
from gateway.dialects.request_body import Fields
from gateway.errors import InvalidRequest, TooManyRequests
from gateway.grammar_trial.process import TrialProcess
from gateway.relay.request_record import Exchange

MOST_REMEMBERED = 8192
COSTLY = 30
"""Of a key's new schemas in a minute one that was refused for its cost counts as so many: it took as long."""
MOST_WAITING = 64
"""Requests of one key whose grammars wait for their trial."""

TOO_COSTLY = (
    "'{}' costs too much to follow: the text that it describes can be read in too many ways, as with "
    "repetitions within repetitions that may be empty, or a rule that refers twice to itself. Bound fewer of "
    "them, or put something between."
)
IMPOSSIBLE = "'{}' admits no text at all, as a reference that leads to itself alone."
_FAULTS = {"fine": "", "refused": "", "": "", "nothing": IMPOSSIBLE}
"""What the library takes for no grammar at all is the engine's to refuse, in its own words."""


class GrammarTrials:
    """One of each worker's; keys take turns, so that one that sends many waits for itself."""

    def __init__(self, new: NewSchemas, process: TrialProcess | None = None) -> None:
        self._new = new
        self._process = process or TrialProcess()
        self._faults: OrderedDict[bytes, str] = OrderedDict()
        self._waiting: Counter[str] = Counter()
        self._turns: dict[str, asyncio.Lock] = {}
        self._one_at_a_time = asyncio.Lock()

    def untried(self, exchange: Exchange, fields: Fields) -> Sequence[Grammar]:
        """Those of a checked request whose cost is not known yet.

        Raises InvalidRequest (400) by what is known, TooManyRequests (429) where its key sends new ones
        without end.
        """
        for key in ALWAYS.intersection(fields) if not exchange.behind else ():
            self._new.check(exchange.key, key, bytes(fields[key]))
        if exchange.route is not None and exchange.route.kind == "pipeline":
            return ()  # of a client's schema for a pipeline no engine makes a grammar
        unknown: list[Grammar] = []
        for grammar in grammars_of(fields):
            fault = self._known(grammar)
            if fault is None:
                unknown.append(grammar)
            elif fault:
                raise refusal(grammar, fault)
        return unknown

    async def try_all(self, owner: str, grammars: Sequence[Grammar]) -> None:
        """Have each tried. Raises InvalidRequest (400), TooManyRequests (429), Unavailable (503)."""
        if self._waiting[owner] >= MOST_WAITING:
            raise TooManyRequests(
                "Too many new schemas of the key wait to be tried; send them one after the other.",
                code="too_many_schemas",
                retry_after_s=5,
            )
        turn = self._turns.setdefault(owner, asyncio.Lock())
        self._waiting[owner] += 1
        try:
            for grammar in grammars:
                # The key's turn first: each key has one request in line for the process, so they go round.
                async with turn, self._one_at_a_time:
                    # It may have been tried while this one waited.
                    fault = self._known(grammar)
                    if fault is None:
                        fault = self._remember(grammar, await self._process.ask(grammar.kind, grammar.text))
                        if fault == TOO_COSTLY:
                            self._new.charge(owner, COSTLY)
                if fault:
                    raise refusal(grammar, fault)
        finally:
            self._waiting[owner] -= 1
            if not self._waiting[owner]:
                del self._waiting[owner], self._turns[owner]

    async def stop(self) -> None:
        """End the process that tries grammars; a trial under way ends with it."""
        await self._process.stop()

    def _known(self, grammar: Grammar) -> str | None:
        digest = _digest(grammar)
        fault = self._faults.get(digest)
        if fault is not None:
            self._faults.move_to_end(digest)
        return fault

    def _remember(self, grammar: Grammar, end: str) -> str:
        fault = _FAULTS.get(end, TOO_COSTLY)
        self._faults[_digest(grammar)] = fault
        if len(self._faults) > MOST_REMEMBERED:
            self._faults.popitem(last=False)
        return fault


def refusal(grammar: Grammar, fault: str) -> InvalidRequest:
    """The 400 for a grammar that was tried."""
    return InvalidRequest(fault.format(grammar.param), param=grammar.param, code="grammar_too_costly")


def _digest(grammar: Grammar) -> bytes:
    """Not `hash`: who finds two of one would have a costly one taken for a cheap one."""
    return hashlib.sha256(f"{grammar.kind}\0{grammar.text}".encode()).digest()
