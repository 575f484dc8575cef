"""Rates and budgets: reserved before, settled after, refused with the time until there is room again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.admission.quotas import account_book, quotas
from gateway.admission.quotas.account_book import AccountBook
from gateway.admission.quotas.quotas import Quotas, Reservation
from gateway.admission.quotas.refusals import TooMany
from gateway.config.document import Config
from gateway.errors import Unavailable
from gateway.http.request_cycle import header_pairs

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()


class Counted:
    """Quotas of one key, with a clock that the test turns."""

    def __init__(self, folder: Path, **limits: object) -> None:
        self.now = NOON
        self.folder = folder
        self.quotas = Quotas(self.config(**limits), lambda: self.now)

    def config(self, **limits: object) -> Config:
        key = {"sha256": "a" * 64, "limits": limits}
        document = {"base": {"model": "some/model"}, "keys": {"ci": key}, "state_dir": str(self.folder)}
        return Config.model_validate(document)

    def ask(self, prompt_tokens: int = 0, answer_tokens: int = 10):  # type: ignore[no-untyped-def]
        made = self.quotas.reserve("ci", "base", prompt_tokens * 4, answer_tokens)
        assert made is not None
        return made

    def refused(self, prompt_tokens: int = 0, answer_tokens: int = 10) -> TooMany:
        with pytest.raises(TooMany) as refused:
            self.ask(prompt_tokens, answer_tokens)
        return refused.value


def told(made: Reservation) -> dict[bytes, bytes]:
    return dict(header_pairs(made.header_block))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[object]:
    made: list[Counted] = []

    def counted(**limits: object) -> Counted:
        made.append(Counted(tmp_path, **limits))
        return made[-1]

    yield counted
    for one in made:
        one.quotas.close()


def test_requests_of_a_minute(make) -> None:  # type: ignore[no-untyped-def]
    c = make(requests_per_minute=3)
    for _ in range(3):
        c.ask().settle(10)
    refused = c.refused()
    assert (refused.status, refused.code, refused.retry_after_s) == (429, "requests_per_minute", 20)
    assert "The key 'ci' may send 3 requests a minute" in refused.message
    c.now += 20
    c.ask()
    assert c.refused().retry_after_s == 20


def test_what_is_refused_takes_nothing(make) -> None:  # type: ignore[no-untyped-def]
    c = make(requests_per_minute=2, tokens_per_minute=100)
    first = c.ask(answer_tokens=90)
    for _ in range(10):
        assert c.refused(answer_tokens=50).code == "tokens_per_minute"
    first.settle(0)
    c.ask(answer_tokens=50)


def test_tokens_are_settled_by_what_was_used(make) -> None:  # type: ignore[no-untyped-def]
    c = make(tokens_per_minute=1000)
    held = c.ask(200, 700)
    assert held.prompt_tokens == 200
    assert c.refused(0, 200).retry_after_s == 6, "100 are left, 100 are missing at 1000 a minute"
    held.settle(300)
    assert told(c.ask(0, 100))[b"x-ratelimit-remaining-tokens"] == b"600"


def test_more_than_was_reserved_is_a_debt(make) -> None:  # type: ignore[no-untyped-def]
    c = make(tokens_per_minute=600)
    c.ask(0, 600).settle(900)
    assert c.refused(0, 10).retry_after_s == 31


def test_a_request_larger_than_the_minute_runs_alone(make) -> None:  # type: ignore[no-untyped-def]
    """Clients send max_tokens of 32,000 and more without being told, and mean less."""
    c = make(tokens_per_minute=600)
    held = c.ask(10, 32_000)
    assert c.refused(0, 1).code == "tokens_per_minute"
    held.settle(60)
    c.now += 6
    c.ask(10, 32_000)


def test_requests_at_once(make) -> None:  # type: ignore[no-untyped-def]
    c = make(max_in_flight=2)
    one, _two = c.ask(), c.ask()
    assert (c.refused().code, c.refused().retry_after_s) == ("max_in_flight", 1)
    one.settle(5)
    one.settle(5)
    one.give_back()
    c.ask()
    assert c.refused().code == "max_in_flight", "settled once, however often it is said"


def test_what_never_ran_is_given_back_whole(make) -> None:  # type: ignore[no-untyped-def]
    c = make(requests_per_minute=1, tokens_per_minute=100, tokens_per_day=100, max_in_flight=1)
    for _ in range(5):
        c.ask(0, 100).give_back()


def test_budgets_end_with_their_day_and_month(make) -> None:  # type: ignore[no-untyped-def]
    c = make(tokens_per_day=100, tokens_per_month=150)
    c.ask(0, 80).settle(80)
    refused = c.refused(0, 30)
    assert (refused.code, refused.retry_after_s) == ("tokens_per_day", 12 * 3600)
    assert "80 are used" in refused.message
    c.ask(0, 20).settle(20)
    c.now += 86400  # the first of December: another day and another month
    c.ask(0, 100).settle(100)
    c.now += 86400
    refused = c.refused(0, 60)
    assert (refused.code, refused.retry_after_s) == ("tokens_per_month", int(29.5 * 86400))


def test_a_reservation_of_yesterday_is_not_given_back_today(make) -> None:  # type: ignore[no-untyped-def]
    c = make(tokens_per_day=100)
    held = c.ask(0, 100)
    c.now += 86400
    c.ask(0, 90).settle(90)
    held.settle(0)
    assert c.refused(0, 20).code == "tokens_per_day"


def test_headers_are_openais(make) -> None:  # type: ignore[no-untyped-def]
    c = make(requests_per_minute=60, tokens_per_minute=6000)
    assert told(c.ask(0, 100)) == {
        b"x-ratelimit-limit-requests": b"60",
        b"x-ratelimit-remaining-requests": b"59",
        b"x-ratelimit-reset-requests": b"1s",
        b"x-ratelimit-limit-tokens": b"6000",
        b"x-ratelimit-remaining-tokens": b"5900",
        b"x-ratelimit-reset-tokens": b"1s",
    }


def test_a_refusal_has_them_too_as_things_stand(make) -> None:  # type: ignore[no-untyped-def]
    c = make(requests_per_minute=60, tokens_per_minute=600)
    c.ask(0, 500)
    c.now += 3
    refused = c.refused(0, 300)
    assert (refused.code, refused.retry_after_s) == ("tokens_per_minute", 17)
    assert dict(refused.headers) == {
        b"x-ratelimit-limit-requests": b"60",
        b"x-ratelimit-remaining-requests": b"60",
        b"x-ratelimit-reset-requests": b"0ms",
        b"x-ratelimit-limit-tokens": b"600",
        b"x-ratelimit-remaining-tokens": b"130",
        b"x-ratelimit-reset-tokens": b"47s",
    }


def test_nothing_less_than_nothing_is_left(make) -> None:  # type: ignore[no-untyped-def]
    c = make(tokens_per_minute=600)
    c.ask(0, 600).settle(900)
    told = dict(c.refused(0, 10).headers)
    assert told[b"x-ratelimit-remaining-tokens"] == b"0"
    assert told[b"x-ratelimit-reset-tokens"] == b"1m30s", "a debt takes longer"


def test_what_was_given_back_is_left_again(make) -> None:  # type: ignore[no-untyped-def]
    c = make(requests_per_minute=60)
    held = c.ask()
    assert told(held)[b"x-ratelimit-remaining-requests"] == b"59"
    held.give_back()
    assert told(held)[b"x-ratelimit-remaining-requests"] == b"60"


def test_a_refusal_tells_of_the_account_that_refuses(tmp_path: Path) -> None:
    """A key with room for 60 that its tenant has no more room for may not read that 59 are left."""
    limits = {"requests_per_minute": 60}
    document = {
        "base": {"model": "some/model"},
        "keys": {"ci": {"sha256": "a" * 64, "tenant": "acme", "limits": limits}},
        "tenants": {"acme": {"limits": {"requests_per_minute": 1}}},
        "state_dir": str(tmp_path),
    }
    quotas = Quotas(Config.model_validate(document), lambda: NOON)
    first = quotas.reserve("ci", "base", 0, 1)
    assert first is not None
    assert told(first)[b"x-ratelimit-remaining-requests"] == b"59"
    with pytest.raises(TooMany) as refused:
        quotas.reserve("ci", "base", 0, 1)
    assert dict(refused.value.headers)[b"x-ratelimit-limit-requests"] == b"1"
    assert dict(refused.value.headers)[b"x-ratelimit-remaining-requests"] == b"0"
    quotas.close()


@pytest.mark.anyio
async def test_who_has_waited_in_vain_is_told_too(make) -> None:  # type: ignore[no-untyped-def]
    c = make(requests_per_minute=1, on_limit="wait", max_wait_s=1)
    c.ask()
    with pytest.raises(TooMany) as refused:
        await c.quotas.admitted("ci", "base", 0, 10)
    assert dict(refused.value.headers)[b"x-ratelimit-remaining-requests"] == b"0"


def test_a_killed_gateways_requests_bound_nobody_for_long(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    killed = AccountBook(tmp_path)
    with killed.locked():
        killed.write("key:ci", killed.read("key:ci"), 2)
    c = make(max_in_flight=2)
    assert c.refused().code == "max_in_flight"
    killed.close()
    c.quotas._book._looked_at = float("-inf")
    c.ask()


@pytest.mark.anyio
async def test_an_account_that_finds_no_row_is_refused_and_the_others_are_not(  # type: ignore[no-untyped-def]
    make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each account that was used this month has a row; the file has so many."""
    monkeypatch.setattr(account_book, "MOST_ACCOUNTS", 1)
    c = make(requests_per_minute=60)
    c.ask()
    other = Quotas(c.config(), lambda: NOON)
    other.configure(
        Config.model_validate({"base": {"model": "m"}, "gateway": {"limits": {"max_in_flight": 1}}})
    )
    for ask in (
        lambda: other.reserve("", "base", 0, 1),
        lambda: asyncio.run(other.admitted("", "base", 0, 1)),
    ):
        with pytest.raises(Unavailable) as refused:
            await asyncio.to_thread(ask)
        assert refused.value.code == "limits_not_counted"
    c.ask()
    other.close()


def test_of_many_pairs_of_keys_and_models_so_many_are_remembered(  # type: ignore[no-untyped-def]
    make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "MOST_REMEMBERED", 2)
    c = make(requests_per_minute=3)
    for model in ("a", "b", "c"):
        assert c.quotas.reserve("ci", model, 0, 1) is not None
        assert len(c.quotas._accounts) <= 2
    assert c.refused().code == "requests_per_minute"


def test_without_limits_nothing_is_touched(tmp_path: Path) -> None:
    config = Config.model_validate({"base": {"model": "some/model"}})
    assert Quotas(config).reserve("", "base", 100, 10) is None


def test_other_limits_hold_for_what_was_used_before(make) -> None:  # type: ignore[no-untyped-def]
    c = make(tokens_per_day=1000)
    c.ask(0, 500).settle(500)
    c.quotas.configure(c.config(tokens_per_day=400))
    assert c.refused(0, 1).code == "tokens_per_day"
    c.quotas.configure(c.config())
    assert c.quotas.reserve("ci", "base", 4, 1) is None


def test_retry_after_of_requests_at_once_is_when_one_of_them_ends_as_a_rule(make) -> None:  # type: ignore[no-untyped-def]
    c = make(max_in_flight=2)
    first, _ = c.ask(), c.ask()
    assert c.refused().retry_after_s == 1  # nothing is known yet
    c.now += 20
    first.settle(10)
    c.ask()
    assert c.refused().retry_after_s == 10  # two at once, of twenty seconds each


@pytest.mark.anyio
async def test_whoever_waits_behind_others_is_told_how_long_for_all_of_them(make) -> None:  # type: ignore[no-untyped-def]
    c = make(requests_per_minute=60, on_limit="wait", max_wait_s=3.5)
    for _ in range(60):
        c.ask()
    waiting = [asyncio.create_task(c.quotas.admitted("ci", "base", 0, 10)) for _ in range(3)]
    for _ in range(3):
        await asyncio.sleep(0)
    with pytest.raises(TooMany) as refused:
        await c.quotas.admitted("ci", "base", 0, 10)
    assert (refused.value.code, refused.value.retry_after_s) == ("rate_limit_exceeded", 4)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    line = c.quotas._lines["key:ci"]
    assert (line.requests, line.tokens, line.lock.locked()) == (0, 0, False)


@pytest.mark.anyio
async def test_between_two_that_wait_nobody_slips_in(make) -> None:  # type: ignore[no-untyped-def]
    c = make(tokens_per_minute=600, on_limit="wait", max_wait_s=60)
    first = c.ask(0, 600)
    waiting = [asyncio.create_task(c.quotas.admitted("ci", "base", 0, tokens)) for tokens in (100, 10)]
    await asyncio.sleep(0)
    c.now += 11  # for both
    first.settle(600)
    slipped = asyncio.get_running_loop().create_future()
    # Just after the first has its tokens, and before the second hears that it is in front.
    asyncio.get_running_loop().call_soon(lambda: slipped.set_result(_takes(c, 10)))
    assert not await slipped
    await asyncio.gather(*waiting)


def _takes(c, tokens: int) -> bool:  # type: ignore[no-untyped-def]
    try:
        c.quotas.reserve("ci", "base", 0, tokens)
    except TooMany:
        return False
    return True
