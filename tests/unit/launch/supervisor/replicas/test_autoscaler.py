"""What the number of engines follows, and that it is brought about."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.document import Config
from launch.supervisor.replicas.autoscale import QueueLoad, ScaleRules
from launch.supervisor.replicas.autoscaler import Autoscaler, rules_of
from tests.fakes.plant import PlantOptions, timed_plant

pytestmark = pytest.mark.anyio

RULES = ScaleRules(least=1, most=3, wait_s=2.0, in_flight=10, add_every_s=30.0, remove_after_s=60.0)


class Engines:
    def __init__(self) -> None:
        self.coming = 0
        self.wanted: int | None = None
        self.asked = False
        self.scaled: list[int] = []

    def take_asked(self) -> bool:
        return self.asked

    def scale(self, wanted: int) -> None:
        self.scaled.append(wanted)


def test_it_follows_the_load_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    now, engines = [100.0], Engines()
    loads = {"wait_s": 5.0}
    made = Autoscaler(
        RULES, engines, lambda coming: QueueLoad(40, loads["wait_s"], 0, coming), lambda: now[0]
    )
    made.look()
    engines.coming = 1
    now[0] += 40
    made.look()
    assert engines.scaled == [2, 2]
    assert "engines wanted: 2 of 3; requests wait 5.0 s for a place" in capsys.readouterr().err


def test_engines_that_an_earlier_control_plane_had_are_let_go_one_by_one() -> None:
    now, engines = [100.0], Engines()
    engines.wanted = 3
    made = Autoscaler(RULES, engines, lambda coming: QueueLoad(0, 0.0, 0, coming), lambda: now[0])
    for now[0] in (100.0, 159.0, 161.0, 222.0):
        made.look()
    assert engines.scaled == [3, 3, 2, 1]


def test_whoever_asks_for_an_engine_is_heard_before_gateways_report() -> None:
    engines = Engines()
    rules = ScaleRules(0, 3, 2.0, 10, 30.0, 60.0)
    made = Autoscaler(rules, engines, lambda coming: QueueLoad(0, 0.0, 0, coming), lambda: 100.0)
    made.look()
    engines.asked = True
    made.look()
    assert engines.scaled == [0, 1]


def config_of(replicas: object, **base: object) -> Config:
    return Config.model_validate({"base": {"model": "m", **base}, "engines": {"replicas": replicas}})


def test_rules_come_from_the_configuration() -> None:
    assert rules_of(config_of(2)) is None
    rules = rules_of(config_of({"max": 4}, max_num_seqs=16))
    assert rules is not None
    assert (rules.least, rules.most, rules.in_flight) == (1, 4, 16)
    told = rules_of(config_of({"min": 0, "max": 2, "in_flight": 5, "wait_s": 1}))
    assert told is not None
    assert (told.least, told.in_flight, told.wait_s) == (0, 5, 1.0)


@pytest.mark.parametrize(
    ("replicas", "base", "said"),
    [({"min": 3, "max": 2}, {}, "is over max"), ({"max": 2}, {"idle_unload": "5m"}, "base.idle_unload")],
)
def test_what_cannot_be_together_is_refused(replicas: object, base: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config_of(replicas, **base)


async def test_engines_come_with_the_load_and_go_after_it(tmp_path: Path) -> None:
    bounds: dict[str, object] = {
        "min": 0,
        "max": 2,
        "in_flight": 4,
        "add_every_s": 0.01,
        "remove_after_s": 0.01,
    }
    async with timed_plant(tmp_path, PlantOptions(replicas=bounds)) as made:
        first, second = made.supervisor.engines.keepers
        async with made.listened_to():
            assert first.status.state == second.status.state == "stopped"
            await made.client.post("/engines/start", json={})
            await made.until(lambda: first.ready)
            assert second.status.state == "stopped"
            waiting = {"gateway": "g1", "version": 1 << 60, "in_flight": 40, "queue_s": 9.0}
            await made.client.post("/gateways", json=waiting)
            await made.until(lambda: second.ready)
            await made.client.post("/gateways", json={**waiting, "in_flight": 0, "queue_s": 0})
            await made.until(lambda: second.status.state == "stopped")
            await made.until(lambda: first.status.state == "stopped")
