"""What a key stands for: patterns of models, an end, an earlier secret, what was revoked."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from gateway.admission.api_keys import ANYBODY, FoundKey, Keys
from gateway.admission.bad_keys import BadKeys
from gateway.config.document import Config, KeyConfig, load_config
from gateway.errors import ConfigError, TooManyRequests, Unauthorized
from tests.support.stack import stack

MODELS = ["base", "acme.naming", "acme.concept", "other.naming"]


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def keys_of(documents: dict[str, object], now: float = 0.0, **settings: object) -> Keys:
    keys = {name: KeyConfig.model_validate(one) for name, one in documents.items()}
    return Keys(keys, MODELS, now=lambda: now, **settings)  # type: ignore[arg-type]


def test_patterns_are_the_models_that_there_are() -> None:
    keys = keys_of({"team": {"sha256": digest("k"), "tasks": ["acme.*", "base"]}})
    team = keys.principal(b"Bearer k")
    assert team.visible(MODELS) == ["base", "acme.naming", "acme.concept"]
    document = {"sha256": digest("k"), "tasks": ["acme.*"]}
    keys.replace({"team": KeyConfig.model_validate(document)}, [*MODELS, "acme.new"])
    assert keys.principal(b"Bearer k").may("acme.new")
    assert not keys.principal(b"Bearer k").may("base")


def test_what_was_found_counts_until_any_key_changes_and_holds_none_of_them() -> None:
    """Many connections keep what they found, some for as long as a stream goes on; keys change meanwhile."""
    document: dict[str, object] = {"a": {"sha256": digest("k")}}
    keys, found = keys_of(document), FoundKey()
    holders = sys.getrefcount(keys._principals)
    first = keys.principal(b"Bearer k", found=found)
    assert keys.principal(b"not looked at", found=found) is first
    holders_now = sys.getrefcount(keys._principals)  # an assertion would hold it too
    assert holders_now == holders
    keys.replace({"a": KeyConfig.model_validate(document["a"])}, MODELS)
    assert keys.principal(b"Bearer k", found=found) is not first
    keys.replace({}, MODELS)
    assert keys.principal(b"Bearer k", found=found) is ANYBODY


def test_what_ends_by_itself_is_found_anew_each_time() -> None:
    document: dict[str, object] = {"a": {"sha256": digest("k"), "expires_at": "1970-01-01T00:16:40Z"}}
    now, found = [999.9], FoundKey()
    keys = Keys({"a": KeyConfig.model_validate(document["a"])}, MODELS, now=lambda: now[0])
    assert keys.principal(b"Bearer k", found=found).name == "a"
    now[0] = 1000.0
    with pytest.raises(Unauthorized, match="expired"):
        keys.principal(b"Bearer k", found=found)
    with keys.ticket(ANYBODY) as secret:
        assert keys.principal(b"Bearer " + secret, found=found) is ANYBODY
    with pytest.raises(Unauthorized):
        keys.principal(b"Bearer " + secret, found=found)


def test_a_key_ends_at_its_time_wherever_it_is_sent() -> None:
    document: dict[str, object] = {"a": {"sha256": digest("k"), "expires_at": "1970-01-01T00:16:40Z"}}
    assert keys_of(document, 999.9).principal(b"Bearer k").name == "a"
    late = keys_of(document, 1000.0)
    for bearer, others in ((b"Bearer k", ()), (None, (b"k",))):
        with pytest.raises(Unauthorized, match="expired"):
            late.principal(bearer, others)
    with pytest.raises(Unauthorized, match="expired"):
        late.named("a")


def test_the_earlier_secret_is_good_until_then_and_the_same_caller() -> None:
    document: dict[str, object] = {
        "a": {
            "sha256": digest("new"),
            "previous_sha256": digest("old"),
            "previous_until": "1970-01-01T00:01:00Z",
        }
    }
    early, late = keys_of(document, 59.0), keys_of(document, 60.0)
    assert {early.principal(b"Bearer " + one).name for one in (b"new", b"old")} == {"a"}
    assert early.principal(b"Bearer new", (b"old",)).name == "a", "one caller, not two"
    assert late.principal(b"Bearer new").name == "a"
    for bearer, other in ((b"new", b"old"), (b"old", b"new")):
        assert late.principal(b"Bearer " + bearer, (other,)).name == "a", "the one that is good counts"
    with pytest.raises(Unauthorized, match="expired"):
        late.principal(b"Bearer old")


def test_the_earlier_secret_of_a_revoked_key_is_no_unknown_one() -> None:
    earlier = {"previous_sha256": digest("old"), "previous_until": "1970-01-01T00:01:00Z"}
    for now in (59.0, 60.0):
        keys = keys_of({"a": {"sha256": digest("new"), "disabled": True, **earlier}}, now)
        for secret in (b"new", b"old"):
            with pytest.raises(Unauthorized, match="revoked"):
                keys.principal(b"Bearer " + secret)


def test_with_the_last_key_revoked_nobody_gets_in() -> None:
    keys = keys_of({"a": {"sha256": digest("k"), "disabled": True}})
    with pytest.raises(Unauthorized, match="revoked"):
        keys.principal(b"Bearer k")
    with pytest.raises(Unauthorized, match="needed"):
        keys.principal(None)
    with pytest.raises(Unauthorized, match="revoked"):
        keys.named("a")


def test_keys_may_be_required_before_there_are_any() -> None:
    assert keys_of({}).principal(None) is ANYBODY
    with pytest.raises(Unauthorized, match="needed"):
        keys_of({}, required=True).principal(None)


def test_a_good_key_passes_where_bad_ones_flood() -> None:
    keys = keys_of({"a": {"sha256": digest("k")}}, bad_keys=BadKeys(2))
    peer = ("10.0.0.1", 1)
    for _ in range(2):
        with pytest.raises(Unauthorized):
            keys.principal(b"Bearer x", (), peer)
    for bearer, others in ((b"Bearer x", ()), (None, (b"x",))):
        with pytest.raises(TooManyRequests) as refused:
            keys.principal(bearer, others, peer)
        assert refused.value.retry_after_s == 60
    assert keys.principal(b"Bearer k", (), peer).name == "a"


@pytest.mark.anyio
async def test_a_flood_of_bad_keys_is_answered_429_and_said_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = {"a": {"sha256": digest("k")}}
    async with stack(tmp_path, keys=keys, max_bad_keys_per_minute=5) as s:
        statuses = []
        for number in range(20):
            path = "/v1/models" if number % 2 else "/v1/chat/completions"
            method = "GET" if number % 2 else "POST"
            answer = await s.client.request(method, path, headers={"authorization": "Bearer no"}, json={})
            statuses.append(answer.status_code)
        assert statuses == [401] * 5 + [429] * 15
        assert answer.json()["error"]["code"] == "too_many_bad_keys"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        good = await s.client.get("/v1/models", headers={"authorization": "Bearer k"})
        assert good.status_code == 200
        said = [one.getMessage() for one in caplog.records if "unknown API key" in one.getMessage()]
        assert len(said) == 2, "how many there were is said at the minute's end, or the gateway's"
    assert "127.0.0.1" in said[0]


def load(folder: Path, text: str) -> Config:
    file = folder / "config.yaml"
    file.write_text("base: {model: some/model}\n" + text, encoding="utf-8")
    return load_config(file, {})


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("role: operator", "operator needs one"),
        ("role: operator, tenant: a, admin: true", "two things"),
        ("role: root", "user"),
        ("tenant: a.b", "letters"),
        ("expires_at: 2027-01-31T00:00:00", "timezone"),
        ("expires_at: soon", "datetime"),
        ("previous_sha256: " + "a" * 64, "go together"),
        ("previous_until: 2027-01-31T00:00:00Z", "go together"),
        ("tasks: [naming]", "is no model"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, key: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(tmp_path, f"keys: {{a: {{sha256: {digest('k')}, {key}}}}}")


def test_the_earlier_key_of_one_is_no_key_of_another(tmp_path: Path) -> None:
    earlier = f"previous_sha256: {digest('k')}, previous_until: 2027-01-31T00:00:00Z"
    text = f"keys: {{a: {{sha256: {digest('k')}}}, b: {{sha256: {digest('x')}, {earlier}}}}}"
    with pytest.raises(ConfigError, match="the same key"):
        load(tmp_path, text)


def test_sound_keys_are_taken(tmp_path: Path) -> None:
    text = f"""
keys:
  a:
    {{sha256: {digest("k")}, role: operator, tenant: acme, tasks: ['acme.*', base],
      expires_at: 2027-01-31T00:00:00Z}}
  b: {{sha256: {digest("l")}, admin: true, role: admin}}
gateway: {{host: 0.0.0.0, keys_required: true}}
"""
    config = load(tmp_path, text)
    assert [key.effective_role for key in config.keys.values()] == ["operator", "admin"]
    assert load(tmp_path, "gateway: {host: 0.0.0.0, keys_required: true}").keys == {}


def test_a_ticket_is_a_key_for_one_request_and_worth_nothing_afterwards() -> None:
    keys = keys_of({"a": {"sha256": digest("a")}})
    principal = keys.of_digest(hashlib.sha256(b"a").digest())
    with keys.ticket(principal) as first, keys.ticket(principal) as second:
        assert first != second
        assert keys.principal(b"Bearer " + first) is principal
    for ticket in (first, second):
        with pytest.raises(Unauthorized):
            keys.principal(b"Bearer " + ticket)
    with pytest.raises(Unauthorized, match="any more"):
        keys.of_digest(hashlib.sha256(b"b").digest())
