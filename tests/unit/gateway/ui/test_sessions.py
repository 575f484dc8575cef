"""Who is signed in, kept in files that every worker reads."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.admission.api_keys import Keys
from gateway.config.document import KeyConfig
from gateway.errors import Unauthorized
from gateway.ui.sessions import LASTS_S, MOST_OF_KEY, Sessions
from tests.support.stack import key_of


def keys_with(*names: str) -> Keys:
    return Keys({name: KeyConfig.model_validate(key_of(name)) for name in names})


def test_every_worker_knows_a_session_and_no_file_lets_anybody_in(tmp_path: Path) -> None:
    keys = keys_with("team-a")
    secret = Sessions(tmp_path, keys).begin(b"team-a")
    elsewhere = Sessions(tmp_path, keys)
    assert elsewhere.principal(secret).name == "team-a"
    (file,) = (tmp_path / "sessions").iterdir()
    assert secret not in file.name + file.read_text()
    assert "team-a" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(Unauthorized):
        elsewhere.principal(file.name)


def test_it_ends_by_itself_and_by_signing_out(tmp_path: Path) -> None:
    now = [1000.0]
    sessions = Sessions(tmp_path, keys_with("team-a"), lambda: now[0])
    first, second = sessions.begin(b"team-a"), sessions.begin(b"team-a")
    sessions.end(first)
    with pytest.raises(Unauthorized, match="sign in"):
        sessions.principal(first)
    now[0] += LASTS_S - 1
    assert sessions.principal(second).name == "team-a"
    now[0] += 1
    with pytest.raises(Unauthorized):
        sessions.principal(second)


def test_a_key_that_is_gone_takes_its_sessions_along(tmp_path: Path) -> None:
    keys = keys_with("team-a", "team-b")
    sessions = Sessions(tmp_path, keys)
    secret = sessions.begin(b"team-a")
    keys.replace({"team-b": KeyConfig.model_validate(key_of("team-b"))}, [])
    with pytest.raises(Unauthorized, match="not known"):
        sessions.principal(secret)


@pytest.mark.parametrize("secret", ["", "../../engine", "a" * 43, "x" * 4000, "\0" * 43])
def test_what_is_no_session_is_none(tmp_path: Path, secret: str) -> None:
    sessions = Sessions(tmp_path, keys_with("team-a"))
    with pytest.raises(Unauthorized):
        sessions.principal(secret)
    sessions.end(secret)


def test_a_keys_own_oldest_gives_way_before_anybody_elses(tmp_path: Path) -> None:
    now = [0.0]
    sessions = Sessions(tmp_path, keys_with("team-a", "team-b"), lambda: now[0])
    other = sessions.begin(b"team-b")
    now[0] = 1.0
    first = sessions.begin(b"team-a")
    now[0] = 2.0
    last = [sessions.begin(b"team-a") for _ in range(MOST_OF_KEY)][-1]
    assert len(list((tmp_path / "sessions").iterdir())) == MOST_OF_KEY + 1
    with pytest.raises(Unauthorized):
        sessions.principal(first)
    assert (sessions.principal(last).name, sessions.principal(other).name) == ("team-a", "team-b")


def test_who_has_most_gives_way_and_what_is_over_is_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 2 * MOST_OF_KEY  # a sign-in reads all that there are: up to the real bound that is 130,000 files
    monkeypatch.setattr("gateway.ui.sessions.MOST", most)
    now = [0.0]
    names = [f"team-{number}" for number in range(most // MOST_OF_KEY)]
    sessions = Sessions(tmp_path, keys_with("team-a", *names), lambda: now[0])
    first = sessions.begin(b"team-a")
    now[0] = 1.0
    later = [sessions.begin(name.encode()) for name in names for _ in range(MOST_OF_KEY)]
    assert len(list((tmp_path / "sessions").iterdir())) == most
    assert sessions.principal(first).name == "team-a", "the oldest, but the only one of its key"
    assert sessions.principal(later[-1]).name == names[-1]
    of_the_first = []
    for secret in later[:MOST_OF_KEY]:
        with suppress(Unauthorized):
            of_the_first.append(sessions.principal(secret))
    assert len(of_the_first) == MOST_OF_KEY - 1
    now[0] += LASTS_S
    sessions.begin(b"team-a")
    assert len(list((tmp_path / "sessions").iterdir())) == 1
