"""Keys by command: kept as digests, in force at once, and never open to everybody when the last one goes."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.config.document import Config, JsonObject
from gateway.errors import ConfigError, NotFound, Unavailable
from launch.adapters.versions import Refused, Version, Wanted
from launch.supervisor.database import FILE, StateStore
from launch.supervisor.desired_state import DesiredState
from launch.supervisor.tenancy.issued_keys import IssuedKeys, digest_of

CONFIG = Config.model_validate(
    {
        "base": {"model": "some/model"},
        "tasks": {"naming": {"adapter": "/a"}},
        "keys": {"root": {"sha256": digest_of("root"), "admin": True}},
    }
)


class Made:
    def __init__(self, folder: Path) -> None:
        self.store = StateStore(folder)
        self.published = 0
        self.desired = DesiredState(CONFIG, {"naming": Wanted("naming")}, self.store)
        self.keys = IssuedKeys(self.store, self.desired, self.publish)

    def publish(self) -> None:
        self.published += 1

    def state(self, name: str) -> JsonObject:
        return self.keys.show(name)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    one = Made(tmp_path)
    yield one
    one.store.close()


def test_what_is_kept_is_a_digest(made: Made, tmp_path: Path) -> None:
    fields = {"name": "ci", "tasks": ["naming", "acme.*"], "expires_in_s": 60}
    key, document = made.keys.create(fields, "root")
    assert key.startswith("sk-lg-")
    assert len(key) > 40
    assert made.published == 1
    settings = made.keys.settings["ci"]
    assert (settings.sha256, settings.tasks) == (digest_of(key), ["naming", "acme.*"])
    assert document["state"] == "active"
    assert document["created_by"] == "root"
    made.store.close()
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert key.encode() not in kept
    assert settings.sha256.encode() in kept
    again = Made(tmp_path)
    assert again.keys.settings == {"ci": settings}
    again.store.close()


def test_rotation_changes_the_secret_alone(made: Made) -> None:
    old, _ = made.keys.create({"name": "ci", "role": "operator", "tenant": "acme"}, "root")
    new, document = made.keys.rotate("ci", {"keep_s": 3600})
    settings = made.keys.settings["ci"]
    assert (settings.sha256, settings.previous_sha256) == (digest_of(new), digest_of(old))
    assert settings.previous_until is not None
    assert 3500 < (settings.previous_until - datetime.now(UTC)).total_seconds() <= 3600
    assert (document["role"], document["tenant"]) == ("operator", "acme")
    newest, _ = made.keys.rotate("ci", {})
    settings = made.keys.settings["ci"]
    assert (settings.sha256, settings.previous_sha256) == (digest_of(newest), None)


def test_limits_are_taken_whole_and_given_up(made: Made) -> None:
    _, document = made.keys.create({"name": "ci", "limits": {"requests_per_minute": 5}}, "root")
    assert document["limits"] == {"requests_per_minute": 5, "on_limit": "refuse", "max_wait_s": 30.0}
    made.keys.limit("ci", {"limits": {"tokens_per_day": 9, "on_limit": "wait"}})
    limits = made.keys.settings["ci"].limits
    assert limits is not None
    assert (limits.requests_per_minute, limits.tokens_per_day, limits.on_limit) == (None, 9, "wait")
    made.keys.rotate("ci", {})
    assert made.keys.settings["ci"].limits == limits
    assert made.keys.limit("ci", {})["limits"] is None
    with pytest.raises(ConfigError, match="requests_per_minute"):
        made.keys.limit("ci", {"limits": {"requests_per_minute": 0}})
    with pytest.raises(Refused, match="configuration"):
        made.keys.limit("root", {})


def test_a_key_may_be_for_a_task_that_a_command_added_and_outlives_it(made: Made) -> None:
    made.desired.keep(Wanted("extra", (Version("extra@1", "/e"),)))
    made.keys.create({"name": "ci", "tasks": ["extra"]}, "root")
    made.desired.remove("extra")
    limited = made.keys.limit("ci", {"limits": {"requests_per_minute": 5}})
    assert limited["tasks"] == ["extra"]
    with pytest.raises(ConfigError, match="no model"):
        made.keys.create({"name": "two", "tasks": ["extra"]}, "root")


def test_what_is_revoked_stays_refused(made: Made) -> None:
    first, _ = made.keys.create({"name": "ci"}, "root")
    made.keys.rotate("ci", {"keep_s": 3600})
    told = made.keys.revoke("ci")
    assert (told["state"], told["previous_until"]) == ("revoked", None)
    at = made.state("ci")["revoked_at"]
    settings = made.keys.settings["ci"]
    assert settings.disabled
    assert settings.previous_sha256 == digest_of(first), "who has it yet hears that it was revoked"
    assert made.keys.revoke("ci")["revoked_at"] == at, "twice is once"
    with pytest.raises(Refused, match="another name"):
        made.keys.rotate("ci", {})
    with pytest.raises(Refused, match="another name"):
        made.keys.create({"name": "ci"}, "root")


def test_a_key_whose_time_is_over_gets_no_secret_that_nobody_could_use(made: Made) -> None:
    made.keys.create({"name": "ci", "expires_in_s": 1e-9}, "root")
    before = made.keys.settings["ci"]
    with pytest.raises(Refused, match="is over; give it another"):
        made.keys.rotate("ci", {"keep_s": 60})
    assert made.keys.settings["ci"] == before
    _, document = made.keys.rotate("ci", {"expires_in_s": 60})
    ends_at = made.keys.settings["ci"].expires_at
    assert document["state"] == "active"
    assert ends_at is not None
    assert 50 < (ends_at - datetime.now(UTC)).total_seconds() <= 60
    made.keys.rotate("ci", {})
    assert made.keys.settings["ci"].expires_at == ends_at, "as long as nobody says otherwise"


def test_the_configurations_keys_are_shown_and_not_changed(made: Made) -> None:
    made.keys.create({"name": "ci"}, "root")
    assert [(one["name"], one["origin"]) for one in made.keys.list()] == [
        ("ci", "command"),
        ("root", "configuration"),
    ]
    assert all(len(str(one["digest"])) == 12 for one in made.keys.list())
    for refused in (
        lambda: made.keys.revoke("root"),
        lambda: made.keys.rotate("root", {}),
        lambda: made.keys.create({"name": "root"}, "x"),
    ):
        with pytest.raises(Refused, match="configuration"):
            refused()
    with pytest.raises(NotFound, match="Did you mean 'root'"):
        made.keys.show("roott")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "name"),
        ({"name": "a b"}, "letters"),
        ({"name": "a", "tasks": ["namin"]}, "did you mean 'naming'"),
        ({"name": "a", "tasks": "naming"}, "tasks"),
        ({"name": "a", "role": "root"}, "role"),
        ({"name": "a", "role": "operator"}, "operator needs one"),
        ({"name": "a", "tenant": "a.b"}, "tenant"),
        ({"name": "a", "expires_in_s": 0}, "expires_in_s"),
        ({"name": "a", "expires_in_s": True}, "expires_in_s"),
        ({"name": "a", "expires_in_s": 1e300}, "expires_in_s"),
    ],
)
def test_mistakes_are_named_and_nothing_is_made(made: Made, fields: JsonObject, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        made.keys.create(fields, "root")
    assert raised.value.code != "adapter"
    assert not made.keys.settings
    assert not made.published


def test_what_cannot_be_kept_is_not_in_force(made: Made, tmp_path: Path) -> None:
    made.keys.create({"name": "ci"}, "root")
    before = dict(made.keys.settings)
    with sqlite3.connect(tmp_path / FILE, isolation_level=None) as other:
        made.store._db.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")
        for refused in (
            lambda: made.keys.revoke("ci"),
            lambda: made.keys.rotate("ci", {}),
            lambda: made.keys.create({"name": "two"}, "root"),
        ):
            with pytest.raises(Unavailable):
                refused()
        other.execute("ROLLBACK")
    other.close()
    assert (made.keys.settings, made.published) == (before, 1)


def test_settings_of_a_newer_release_are_refused_by_name(made: Made, tmp_path: Path) -> None:
    made.keys.create({"name": "ci"}, "root")
    made.store.keep_api_key(dataclasses.replace(made.store.api_keys()[0], settings='{"rank": 1}'))
    with pytest.raises(ConfigError, match="key 'ci': has settings that are not known here"):
        IssuedKeys(made.store, made.desired, made.publish)
