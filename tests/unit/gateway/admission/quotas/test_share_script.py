"""What goes to the script and comes back; on a real server it is held in tests/faults."""

from __future__ import annotations

import msgspec

from gateway.admission.quotas.share_script import EXCHANGE, Amounts, Ask, ShareAnswer, ShareRequest


def test_the_script_reads_amounts_by_their_place() -> None:
    ask = Ask("key:ci", (1, 0, 0, 0, 2), Amounts(), Amounts(1, 2, 3, 4), Amounts(), Amounts(), (0, 0, 0, 0))
    document = msgspec.json.decode(msgspec.json.encode(ShareRequest("m", 5.0, 1, [ask])))
    assert document["accounts"][0]["need"] == [1, 2, 3, 4]
    assert document["accounts"][0]["bounds"] == [1, 0, 0, 0, 2]


def test_what_lua_writes_is_read() -> None:
    given = (
        b'{"enough":true,"amounts":[1,0.5,0,2],"level":-1e-07,"token_level":3,"day":20786,'
        b'"day_tokens":1,"month":24322,"month_tokens":1e+15,"in_flight":2}'
    )
    answer = msgspec.json.decode(b'{"members":2,"accounts":[' + given + b"]}", type=ShareAnswer)
    assert answer.accounts[0].amounts == Amounts(1, 0.5, 0, 2)


def test_its_name_is_its_text() -> None:
    assert len(EXCHANGE.digest) == 40
