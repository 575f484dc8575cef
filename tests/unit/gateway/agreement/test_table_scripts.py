"""The keys of the table; on a real server the scripts are held in tests/faults."""

from __future__ import annotations

from gateway.agreement.table_scripts import report_keys, table_keys
from tests.fakes.fake_redis import FakeRedis


def test_no_two_keys_are_the_same() -> None:
    link = FakeRedis().link()
    keys = [*table_keys(link), *report_keys(link)]
    assert len({*keys}) == 7
