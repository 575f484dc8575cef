"""A run of `bench simulator` as it stands in its result: read again, for the simulator to play it anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from gateway.errors import NOT_JSON, ConfigError
from launch.bench.replicas.calibration import Calibration, Prompted
from launch.bench.replicas.open_run import SimulatorPlan, TwinVisit
from launch.bench.replicas.twin import MEASURED
from launch.simulation.request import Request


@dataclass(frozen=True)
class Told:
    """A calibration; steps as (requests, adapters, seconds)."""

    step_s: list[tuple[int, int, float]]
    alone: list[Prompted]
    joined: list[Prompted]
    loaded: list[Prompted]
    packed: list[tuple[int, float]]


class RecordedSettings(msgspec.Struct, frozen=True):
    """What the simulator needs of them."""

    adapters: int
    loads: list[float]
    window_s: float
    warm_up_s: float
    slo_s: float
    least_residency_s: float


class RecordedVisit(msgspec.Struct, frozen=True):
    """A visit that was measured, or its twin."""

    round: int
    engines: int
    load: float
    subject: str
    loads: float
    requests: list[tuple[float, str, int, int]] = []
    first_s: list[float] = []


class Recorded(msgspec.Struct, frozen=True):
    """A result of `bench simulator`, as far as it is read again."""

    settings: RecordedSettings
    calibration: dict[str, Told]
    rounds: list[RecordedVisit]

    @property
    def plan(self) -> SimulatorPlan:
        """As far as the simulator needs it."""
        own = self.settings
        return SimulatorPlan(own.adapters, tuple(own.loads), own.window_s, own.warm_up_s, slo_s=own.slo_s)

    @property
    def visits(self) -> Sequence[TwinVisit]:
        """The windows that real engines were measured in, with the requests of each."""
        return [
            TwinVisit(
                one.round,
                one.engines,
                one.load,
                [Request(*asked) for asked in one.requests],
                one.first_s,
                one.loads,
            )
            for one in self.rounds
            if one.subject == MEASURED
        ]


def told(found: Calibration) -> Mapping[str, object]:
    """As it stands in the result."""
    steps = [(*batch, took_s) for batch, took_s in found.step_s.items()]
    return asdict(Told(steps, list(found.alone), list(found.joined), list(found.loaded), list(found.packed)))


def calibration_of(told: Told) -> Calibration:
    """The calibration that a result tells, as it was measured then."""
    steps = {(requests, adapters): took_s for requests, adapters, took_s in told.step_s}
    return Calibration(steps, told.alone, told.joined, told.loaded, told.packed)


def read_recorded(path: Path) -> Recorded:
    """Raises ConfigError where it is no result of `bench simulator`, or an earlier release's."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Recorded)
    except OSError as error:
        raise ConfigError("--again", str(path), f"cannot be read ({error.strerror})") from error
    except NOT_JSON as error:
        mend = f"is no result that this `bench simulator` wrote ({error})"
        raise ConfigError("--again", str(path), mend) from error
