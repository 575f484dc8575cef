"""The number of engines brought to what their clients need: looked at twice a second, told as it changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from gateway.config.document import Config
from launch.engine.engine import say
from launch.supervisor.replicas.autoscale import QueueLoad, ScaleRules, Scaling, next_scaling

DEFAULT_IN_FLIGHT = 64


class Scaled(Protocol):
    """`launch.supervisor.engines.Engines`, as far as it is needed here."""

    @property
    def coming(self) -> int:
        """Engines that start, and have not failed at it."""

    @property
    def wanted(self) -> int | None:
        """How many there are to be: those that ran when this began, at first."""

    def take_asked(self) -> bool:
        """Whether somebody has asked for an engine since this was asked last."""

    def scale(self, wanted: int) -> None:
        """Have so many serve; the others drain, and end."""


class Autoscaler:
    """Use it in one event loop."""

    def __init__(
        self,
        rules: ScaleRules,
        engines: Scaled,
        load: Callable[[int], QueueLoad],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`load` tells what gateways have now, given how many engines are coming."""
        self._rules = rules
        self._engines = engines
        self._load = load
        self._clock = clock
        # Never changed yet: the first that is added need not wait for `add_every_s`.
        self.scaling = Scaling(max(rules.least, engines.wanted or 0), -float("inf"), clock())

    def look(self) -> None:
        """Decide, and have it done; asked for each time again, since an engine may have failed."""
        before = self.scaling
        load = self._load(self._engines.coming)
        if self._engines.take_asked():  # its gateway has perhaps not reported yet who waits
            load = replace(load, cold=max(1, load.cold))
        self.scaling = next_scaling(before, load, self._rules, self._clock())
        if self.scaling.wanted != before.wanted:
            say(f"engines wanted: {self.scaling.wanted} of {self._rules.most}; {self.scaling.why}")
        self._engines.scale(self.scaling.wanted)


def rules_of(config: Config) -> ScaleRules | None:
    """None where there are always as many."""
    bounds = config.backend.bounds
    if bounds is None:
        return None
    return ScaleRules(
        bounds.min,
        bounds.max,
        bounds.wait_s,
        bounds.in_flight or config.base.max_num_seqs or DEFAULT_IN_FLIGHT,
        bounds.add_every_s,
        bounds.remove_after_s,
    )
