"""What is known of engines, as a choice sees it; a prefix' home."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import msgspec
import pytest

from gateway.admission.engine_bound import EngineBound
from gateway.admission.turns.engine_slots import Able
from gateway.config.snapshot import EngineStatus
from gateway.routing.replica import Replica
from gateway.routing.selection import candidates
from gateway.routing.selection.candidates import PREFIX_BYTES, home_of, prefix_of


@dataclass
class Upstream:
    open_connections: int = 0


def replica(name: str, in_flight: int = 0, limit: int = 8) -> Replica:
    made = Replica(name, Upstream(in_flight), EngineStatus(name), bound=EngineBound(limit))  # type: ignore[arg-type]
    for _ in range(in_flight):
        made.visits.begin("a@1", 100)
    return made


def picked(able: list[Replica], prefix: int | None = None, times: int = 300) -> Counter[str]:
    return Counter(candidates.pick(able, prefix).name for _ in range(times))


def test_the_least_full_is_picked_and_equals_by_chance() -> None:
    assert picked([replica("x", 3), replica("y", 2)]) == {"y": 300}
    assert min(picked([replica("x", 2), replica("y", 2)]).values()) > 100


def test_one_that_rests_is_picked_only_where_all_do() -> None:
    x, y = replica("x"), replica("y", 7)
    x.failed()
    assert picked([x, y]) == {"y": 300}
    y.failed()
    assert picked([x, y]) == {"x": 300}
    assert candidates.seat([(x, Able("x", True, 0)), (replica("z"), Able("z", False, 0))]).name == "z"


def test_others_requests_count_as_long_as_ours() -> None:
    x, y = replica("x", 2), replica("y", 3)
    x.speed._others, x.speed._at = 4, 1e12
    assert picked([x, y]) == {"y": 300}


def test_requests_from_before_there_were_several_count_too() -> None:
    x, y = replica("x"), replica("y", 2)
    x.upstream.open_connections = 3
    assert picked([x, y]) == {"y": 300}


def test_a_long_prompt_goes_where_those_that_begin_alike_went() -> None:
    able = [replica(name, 2) for name in ("x", "y", "z")]
    prompt = b'[{"role": "system", "content": "%b"}' % (b"long " * 500)
    prefix = prefix_of(msgspec.Raw(prompt + b', {"role": "user", "content": "one"}]'))
    assert prefix is not None
    assert prefix == prefix_of(msgspec.Raw(prompt + b', {"role": "user", "content": "other"}]'))
    assert len(picked(able, prefix)) == 1


def test_a_short_prompt_has_no_home() -> None:
    assert prefix_of(None) is None
    assert prefix_of(msgspec.Raw(b'"%b"' % (b"x" * (PREFIX_BYTES - 3)))) is None
    assert prefix_of(msgspec.Raw(b'"%b"' % (b"x" * (PREFIX_BYTES - 2)))) is not None


def test_homes_are_spread_and_move_only_with_their_engine() -> None:
    able = [replica(f"engine-{number}") for number in range(8)]
    homes = {prefix: home_of(able, prefix).name for prefix in range(0, 2**32, 2**32 // 4000)}
    assert max(Counter(homes.values()).values()) < 1.1 * len(homes) / 8
    less = {prefix: home_of(able[1:], prefix).name for prefix in homes}
    moved = [prefix for prefix in homes if homes[prefix] != less[prefix]]
    assert {homes[prefix] for prefix in moved} == {"engine-0"}


def test_of_many_the_home_is_found_and_the_full_are_passed_over() -> None:
    able = [replica(f"engine-{number}", 8 if number < 32 else 1) for number in range(64)]
    prefix = next(one for one in range(1000) if home_of(able, one).name == "engine-40")
    assert picked(able, prefix) == {"engine-40": 300}
    taken = picked(able)
    assert sum(count for name, count in taken.items() if int(name[7:]) < 32) <= 15


@pytest.mark.parametrize(("in_flight", "expected"), [(3, "x"), (40, "y")])
def test_a_seat_is_where_the_adapter_is_unless_the_wait_there_is_longer_than_a_load(
    in_flight: int, expected: str
) -> None:
    x, y = replica("x"), replica("y")  # they were let in a moment ago, and are not sent yet
    assert candidates.seat([(x, Able("x", True, in_flight)), (y, Able("y", False, 0))]).name == expected
