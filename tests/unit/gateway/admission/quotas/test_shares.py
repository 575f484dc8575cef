"""One process's share of an account: what it holds, asks for and gives back."""

from __future__ import annotations

from typing import Any

from gateway.admission.quotas.share_script import Amounts, Ask, Given
from gateway.admission.quotas.shares import Share, needed, together
from gateway.config.limit_settings import LimitConfig

COUNTED = (20_000, 7.0, 24_000, 70.0)


def share_of(**limits: Any) -> Share:
    return Share(LimitConfig(**limits), COUNTED)


def given(amounts: Amounts, enough: bool = True) -> Given:
    return Given(enough, amounts, 1.0, 1.0, 20_001, 9.0, 24_001, 90.0, 0)


def asked(share: Share, waiting: list[Amounts] | None = None, members: int = 1) -> Ask:
    ask = share.ask("key:ci", members, waiting or [])
    assert ask is not None
    return ask


def test_a_request_needs_what_is_bounded() -> None:
    assert needed(LimitConfig.model_validate({"max_in_flight": 3}), 50) == Amounts(0, 0, 0, 1)
    whole = LimitConfig.model_validate(
        {"requests_per_minute": 1, "tokens_per_minute": 40, "tokens_per_day": 30, "tokens_per_month": 60}
    )
    assert needed(whole, 50) == Amounts(1, 40, 30, 0)


def test_an_empty_share_holds_nothing_and_a_filled_one_does() -> None:
    share = share_of(requests_per_minute=10)
    need = needed(share.limits, 5)
    assert not share.holds(need)
    ask = asked(share, [need, need, need])
    assert (ask.need, ask.queued) == (Amounts(1), Amounts(2))
    assert ask.bounds == (10, 0, 0, 0, 0)
    assert ask.known == COUNTED
    share.given(given(Amounts(3)))
    for _ in range(3):
        assert share.holds(need)
        share.take(need)
    assert not share.holds(need)


def test_the_smallest_need_is_first() -> None:
    share = share_of(tokens_per_minute=100)
    ask = asked(share, [Amounts(tokens=80), Amounts(tokens=10)])
    assert (ask.need.tokens, ask.queued.tokens) == (10, 80)


def test_who_waits_gets_what_is_there_with_what_is_missing() -> None:
    share = share_of(tokens_per_minute=100, max_in_flight=2)
    share.given(given(Amounts(tokens=30, places=1)))
    ask = asked(share, [Amounts(tokens=40, places=1)])
    assert (ask.back.tokens, ask.back.places) == (30, 0)
    assert share.tokens == 0


def test_what_nobody_uses_goes_back() -> None:
    share = share_of(requests_per_minute=10, max_in_flight=4)
    share.given(given(Amounts(requests=2, places=2)))
    ask = asked(share)
    assert (ask.back.requests, ask.back.places) == (2, 0)
    assert share.ask("key:ci", 1, []) is None
    assert share.quiet


def test_a_debt_is_told_and_budgets_with_it() -> None:
    share = share_of(tokens_per_minute=100, tokens_per_day=100)
    need = needed(share.limits, 10)
    share.given(given(need))
    share.take(need)
    share.settle(10 - 25, 10 - 25, 0)
    ask = asked(share)
    assert (ask.back.tokens, ask.back.budget) == (-15, -15)
    assert share.tokens == share.budget == 0


def test_what_is_used_often_is_wanted_ahead() -> None:
    share = share_of(requests_per_minute=60_000)
    for _ in range(30):
        for _ in range(10):
            share.take(Amounts(1))
        share.breathe(0.1)
        share.given(given(asked(share).ahead))
    assert 20 <= share.requests <= 30, "a quarter of a second at 100 a second"
    share.forget()
    assert asked(share).back.requests > 0
    assert share.requests == 0


def test_one_request_a_second_is_asked_for_each_time() -> None:
    share = share_of(requests_per_minute=60_000)
    for _ in range(5):
        share.take(Amounts(1))
        share.breathe(1.0)
    assert asked(share).ahead == Amounts()


def test_few_places_are_never_kept() -> None:
    share = share_of(max_in_flight=8)
    for _ in range(100):
        share.take(Amounts(places=1))
    share.breathe(0.1)
    assert share.kept_places(1) == 1
    assert share.kept_places(2) == 0


def test_what_is_in_flight_is_said_again() -> None:
    share = share_of(max_in_flight=4)
    assert share.repeat("key:ci") is None
    share.take(Amounts(places=1))
    ask = share.repeat("key:ci")
    assert ask is not None
    assert ask.back.places == 1


def test_what_may_not_have_been_heard_wants_nothing_the_second_time() -> None:
    share = share_of(requests_per_minute=10, max_in_flight=4)
    share.requests = -3
    ask = asked(share, [Amounts(1, places=1)])
    share.take(Amounts(1, places=1))
    again = share.said_again(ask)
    assert (again.need, again.queued, again.ahead) == (Amounts(), Amounts(), Amounts())
    assert (again.back.requests, again.back.places) == (-3, 1)


def test_what_redis_said_last_is_told_to_one_that_knows_nothing() -> None:
    share = share_of(tokens_per_day=100)
    share.given(given(Amounts()))
    assert asked(share, [Amounts(budget=1)]).known == (20_001, 9.0, 24_001, 90.0)


def test_amounts_add_up() -> None:
    assert together([Amounts(1, 2, 3, 4), Amounts(1, 1, 1, 1)]) == Amounts(2, 3, 4, 5)
    assert together([]) == Amounts()
