"""Which requests are held back after an engine's death, and which are sent no more: decided."""

from __future__ import annotations

import pytest

from gateway.admission.suspects import (
    FORGET_S,
    MOST,
    RESTS_S,
    TOLD_WITHIN_S,
    SuspectRecord,
    Suspects,
    kept,
    merged,
)
from gateway.config.snapshot import Blame

KILLER, INNOCENT = "aaaa", "bbbb"


def died(suspects: Suspects, process: str, *digests: str, at: float = 0.0, blame: Blame = "request") -> None:
    for digest in digests:
        suspects.fell(process, digest, at, answered=True)
    suspects.died(process, blame, at)


def test_nothing_is_watched_until_something_fell() -> None:
    suspects = Suspects()
    assert not suspects.records
    assert not suspects.fallen
    assert suspects.verdict(KILLER, 0) == "free"
    suspects.died("one", "request", 0)
    assert not suspects.records
    assert not suspects.fallen


def test_what_was_with_one_dead_engine_is_a_suspect_and_with_two_is_condemned() -> None:
    suspects = Suspects()
    died(suspects, "one", KILLER, INNOCENT)
    assert [suspects.verdict(one, 1) for one in (KILLER, INNOCENT, "cccc")] == ["suspect", "suspect", "free"]
    assert suspects.clear(INNOCENT)
    died(suspects, "two", KILLER, "cccc", at=2)
    assert [suspects.verdict(one, 3) for one in (KILLER, INNOCENT, "cccc")] == [
        "condemned",
        "free",
        "suspect",
    ]


def test_an_innocent_that_is_answered_between_two_deaths_begins_anew() -> None:
    suspects = Suspects()
    for process in ("one", "two", "three"):
        died(suspects, process, INNOCENT)
        assert suspects.verdict(INNOCENT, 1) == "suspect"
        suspects.clear(INNOCENT)
    assert not suspects.records
    assert not suspects.fallen


def test_one_death_counts_once_however_many_equal_requests_there_were_and_however_often_it_is_told() -> None:
    suspects = Suspects()
    for _ in range(50):
        suspects.fell("one", KILLER, 0, answered=True)
    assert suspects.died("one", "request", 0)
    assert suspects.died("one", "request", 1) == {}
    suspects.fell("one", KILLER, 2, answered=False)  # its connection is read late
    assert suspects.verdict(KILLER, 3) == "suspect"


def test_what_falls_after_its_engines_death_was_told_is_a_suspect_too() -> None:
    suspects = Suspects()
    suspects.died("one", "request", 0)
    assert suspects.fell("one", KILLER, 1, answered=False) == {KILLER: SuspectRecord(("one",), 1)}


@pytest.mark.parametrize("blame", ["nobody", "memory"])
def test_an_engine_that_was_ended_from_outside_or_by_want_of_memory_condemns_nobody(blame: Blame) -> None:
    suspects = Suspects()
    for process in ("one", "two", "three"):
        died(suspects, process, INNOCENT, blame=blame)
    assert suspects.verdict(INNOCENT, 1) == ("free" if blame == "nobody" else "suspect")


def test_memory_may_be_a_requests_doing_so_it_does_not_clear_one() -> None:
    suspects = Suspects()
    died(suspects, "one", KILLER)
    died(suspects, "two", KILLER, blame="memory")
    assert suspects.verdict(KILLER, 1) == "suspect"
    died(suspects, "three", KILLER)
    assert suspects.verdict(KILLER, 1) == "condemned"


def test_of_somebody_elses_server_only_what_it_answered_with_a_failure_counts() -> None:
    suspects = Suspects()
    suspects.fell("one", KILLER, 0, answered=True)
    suspects.fell("one", INNOCENT, 0, answered=False)
    assert list(suspects.died("one", "unknown", 1)) == [KILLER]


def test_a_failure_without_a_death_is_held_back_for_seconds_and_forgotten() -> None:
    suspects = Suspects()
    suspects.fell("one", INNOCENT, 0, answered=True)
    assert suspects.verdict(INNOCENT, RESTS_S - 1) == "suspect"
    assert suspects.verdict(INNOCENT, RESTS_S + 1) == "free"
    suspects.forget(TOLD_WITHIN_S + 1)
    assert not suspects.records
    assert not suspects.fallen


def test_all_is_forgotten_after_an_hour_and_the_number_is_bounded() -> None:
    suspects = Suspects()
    for process in ("one", "two"):
        died(suspects, process, KILLER)
    assert suspects.verdict(KILLER, FORGET_S - 1) == "condemned"
    assert suspects.verdict(KILLER, FORGET_S + 1) == "free"
    suspects.forget(FORGET_S + 1)
    assert not suspects.records
    assert not suspects.fallen
    many = {f"{number}": SuspectRecord(("one",), number / MOST) for number in range(MOST + 5)}
    assert set(many) - set(kept(many, 2)) == {f"{number}" for number in range(5)}


def test_what_two_workers_know_of_one_death_is_one_death() -> None:
    one, other = (
        {KILLER: SuspectRecord(("one",), 1)},
        {KILLER: SuspectRecord(("one",), 2), INNOCENT: SuspectRecord((), 2)},
    )
    assert merged(one, other) == {KILLER: SuspectRecord(("one",), 2), INNOCENT: SuspectRecord((), 2)}
    assert merged(one, {KILLER: SuspectRecord(("two",), 3)})[KILLER].condemned
