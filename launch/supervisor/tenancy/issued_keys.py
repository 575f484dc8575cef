"""API keys that commands make: kept as digests, in force in every gateway as soon as they are published."""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import JsonValue, ValidationError

from gateway.config.document import JsonObject, KeyConfig, checked_name
from gateway.config.key_settings import ISSUED_SETTINGS, is_pattern
from gateway.errors import SENTENCE, ConfigError, NotFound, did_you_mean
from launch.adapters.versions import Refused
from launch.supervisor.database import FILE, KeyRow, StateStore
from launch.supervisor.desired_state import DesiredState

PREFIX = "sk-lg-"
RANDOM_BYTES = 32
LONGEST_S = 100 * 365 * 86400.0
SHOWN_DIGITS = 12
"""Of a digest: enough to tell keys apart, and nothing to look one up by."""


def new_key() -> str:
    """A key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def digest_of(key: str) -> str:
    """The SHA-256 of a key in hex, as the configuration holds it."""
    return hashlib.sha256(key.encode()).hexdigest()


@dataclass(frozen=True)
class IssuedKey:
    """One key that a command made; times are unix seconds."""

    name: str
    settings: KeyConfig
    created_at: float
    created_by: str
    revoked_at: float | None = None


class IssuedKeys:
    """What is made, rotated and revoked here is on disk before it is published.

    A revoked key stays, disabled: its name can't come to mean somebody else, who would see the files and
    batches that were left under it, and with the last key gone the gateway doesn't open to everybody.
    """

    def __init__(self, store: StateStore, state: DesiredState, publish: Callable[[], object]) -> None:
        self._store = store
        self._state = state
        self._publish = publish
        self._keys = {row.name: _read(row) for row in store.api_keys()}

    @property
    def settings(self) -> Mapping[str, KeyConfig]:
        """By name, as gateways take them."""
        return {name: key.settings for name, key in self._keys.items()}

    def create(self, fields: Mapping[str, object], by: str) -> tuple[str, JsonObject]:
        """The key itself, which is never shown again, and what is known of it.

        Raises ConfigError (400), Refused (409), Unavailable (503).
        """
        config, name = self._state.config, checked_name("name", fields.get("name"))
        if name in config.keys:
            raise Refused(f"The configuration has a key '{name}'; choose another name.")
        if name in self._keys:
            raise Refused(f"There is a key '{name}', or was one; choose another name, or rotate it.")
        now = time.time()
        key = new_key()
        document = {one: fields[one] for one in ISSUED_SETTINGS if fields.get(one) is not None}
        expires_in_s = _seconds(fields, "expires_in_s")
        if expires_in_s is not None:
            document["expires_at"] = datetime.fromtimestamp(now + expires_in_s, UTC)
        settings = _checked({**document, "sha256": digest_of(key)})
        _check_models(settings.tasks or (), self._state.models)
        issued = IssuedKey(name, settings, now, by)
        self._keep(issued)
        return key, shown(issued, now)

    def rotate(self, name: str, fields: Mapping[str, object]) -> tuple[str, JsonObject]:
        """Another secret for the same key; `keep_s` lets the earlier one in for so long. `expires_in_s`: the
        key's own time anew.

        Raises NotFound (404), Refused (409), ConfigError (400), Unavailable (503).
        """
        issued = self._known(name)
        if issued.revoked_at is not None:
            raise Refused(f"The key '{name}' was revoked; make one of another name.")
        now, key = time.time(), new_key()
        keep_s, expires_in_s = _seconds(fields, "keep_s"), _seconds(fields, "expires_in_s")
        ends_at = issued.settings.expires_at
        if expires_in_s is not None:
            ends_at = datetime.fromtimestamp(now + expires_in_s, UTC)
        if ends_at is not None and ends_at.timestamp() <= now:
            raise Refused(f"The time of the key '{name}' is over; give it another: --expires, expires_in_s.")
        document: dict[str, object] = {
            **issued.settings.model_dump(),
            "sha256": digest_of(key),
            "expires_at": ends_at,
            "previous_sha256": None,
            "previous_until": None,
        }
        if keep_s:
            document["previous_sha256"] = issued.settings.sha256
            document["previous_until"] = datetime.fromtimestamp(now + keep_s, UTC)
        changed = dataclasses.replace(issued, settings=KeyConfig.model_validate(document))
        self._keep(changed)
        return key, shown(changed, now)

    def limit(self, name: str, fields: Mapping[str, object]) -> JsonObject:
        """Other limits for the key, `limits` whole; without any it has none. What it used still counts.

        Raises NotFound (404), Refused (409), ConfigError (400), Unavailable (503).
        """
        issued = self._known(name)
        document = {**issued.settings.model_dump(), "limits": fields.get("limits")}
        changed = dataclasses.replace(issued, settings=_checked(document))
        self._keep(changed)
        return shown(changed, time.time())

    def revoke(self, name: str) -> JsonObject:
        """Refused from now on; again does nothing more. Raises NotFound (404), Refused (409), Unavailable."""
        issued, now = self._known(name), time.time()
        if issued.revoked_at is None:
            settings = issued.settings.model_copy(update={"disabled": True})
            issued = dataclasses.replace(issued, settings=settings, revoked_at=now)
            self._keep(issued)
        return shown(issued, now)

    def show(self, name: str) -> JsonObject:
        """One key of commands or of the configuration, without its secret. Raises NotFound (404)."""
        for one in self.list():
            if one["name"] == name:
                return one
        raise self._unknown(name)

    def list(self) -> list[JsonObject]:
        """Every key of both, by name."""
        now = time.time()
        configured = [
            {**_common(name, settings, now), "origin": "configuration"}
            for name, settings in self._state.config.keys.items()
        ]
        issued = [shown(one, now) for one in self._keys.values() if one.name not in self._state.config.keys]
        return sorted([*configured, *issued], key=lambda one: str(one["name"]))

    def _keep(self, issued: IssuedKey) -> None:
        self._store.keep_api_key(
            KeyRow(
                issued.name,
                issued.settings.sha256,
                issued.settings.model_dump_json(),
                issued.created_at,
                issued.created_by,
                issued.revoked_at,
            )
        )
        self._keys[issued.name] = issued
        self._publish()

    def _known(self, name: str) -> IssuedKey:
        if name in self._state.config.keys:
            raise Refused(
                f"The key '{name}' stands in the configuration; change it there, it takes effect at once."
            )
        issued = self._keys.get(name)
        if issued is None:
            raise self._unknown(name)
        return issued

    def _unknown(self, name: str) -> NotFound:
        names = [str(one["name"]) for one in self.list()]
        hint = did_you_mean(name, names, SENTENCE)
        return NotFound(f"There is no key '{name[:80]}'.{hint} Keys: {', '.join(names) or 'none'}.")


def shown(issued: IssuedKey, now: float) -> JsonObject:
    """What may be said of a key: all but its secret and its whole digest."""
    return {
        **_common(issued.name, issued.settings, now),
        "origin": "command",
        "created_at": issued.created_at,
        "created_by": issued.created_by,
        "revoked_at": issued.revoked_at,
    }


def _common(name: str, settings: KeyConfig, now: float) -> JsonObject:
    expires_at = settings.expires_at
    until = None if settings.disabled else settings.previous_until
    expired = expires_at is not None and expires_at.timestamp() <= now
    tasks: JsonValue = None if settings.tasks is None else list(settings.tasks)
    return {
        "name": name,
        "state": "revoked" if settings.disabled else "expired" if expired else "active",
        "role": settings.effective_role,
        "tenant": settings.tenant,
        "metrics": settings.metrics,
        "tasks": tasks,
        "limits": None if settings.limits is None else settings.limits.model_dump(exclude_none=True),
        "digest": settings.sha256[:SHOWN_DIGITS],
        "expires_at": None if expires_at is None else expires_at.timestamp(),
        "previous_until": None if until is None or until.timestamp() <= now else until.timestamp(),
    }


def _checked(document: Mapping[str, object]) -> KeyConfig:
    """Raises ConfigError for what the configuration would refuse too."""
    try:
        return KeyConfig.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        raise ConfigError(key or "role", "", text, code="setting") from error


def _check_models(tasks: Iterable[str], models: Collection[str]) -> None:
    """Raises ConfigError for one that there is not; where it goes later, the key may call one less."""
    for model in tasks:
        if model not in models and not is_pattern(model):
            hint = did_you_mean(model, models)
            mend = f"is no model{hint} (models: {', '.join(models)}; or a pattern)"
            raise ConfigError("tasks", model, mend, code="setting")


def _seconds(fields: Mapping[str, object], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_S:
        raise ConfigError(name, str(value), "must be seconds, over 0 and at most 100 years")
    return float(value)


def _read(row: KeyRow) -> IssuedKey:
    try:
        settings = KeyConfig.model_validate_json(row.settings)
    except ValidationError as error:  # without it the gateway might be open, or a revoked name be free
        mend = "has settings that are not known here; use the lora-gateway that made it"
        raise ConfigError("state_dir", f"{FILE}, key '{row.name}'", mend) from error
    return IssuedKey(row.name, settings, row.created_at, row.created_by, row.revoked_at)
