"""Media that a conversation names by address: the engine would fetch it, from wherever it is told. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Literal, get_args

import msgspec

from gateway.config.media_hosts import fault_of
from gateway.dialects.parameters import MAX_DEPTH, Limits, Rule
from gateway.dialects.request_body import SEARCHED_BELOW_BYTES, Fields
from gateway.errors import NOT_JSON, InvalidRequest

_ESCAPED = re.compile(rb"\\u00[0-7]")
"""What may stand for a letter of a name that is looked for; few clients write one so."""
_NOTHING = msgspec.Raw()


class _Part(msgspec.Struct):
    """Of a part what may hold an address, or parts of its own, as a tool's result has them."""

    image_url: msgspec.Raw = _NOTHING
    audio_url: msgspec.Raw = _NOTHING
    video_url: msgspec.Raw = _NOTHING
    file_url: msgspec.Raw = _NOTHING
    source: msgspec.Raw = _NOTHING
    content: msgspec.Raw = _NOTHING


class _Source(msgspec.Struct):
    url: str | None = None


_PlainRole = Literal["user", "assistant", "system", "developer"]


class _PlainTurn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Text that somebody says: no engine fetches and no rule reads anything in it."""

    role: _PlainRole
    content: str


_Turns = str | list[str | Fields]
"""Messages, or other items, by their members."""
_decode_turns = msgspec.json.Decoder(_Turns).decode
_decode_any = msgspec.json.Decoder(str | list[msgspec.Raw]).decode
_decode_plain = msgspec.json.Decoder(str | list[_PlainTurn]).decode
_decode_parts = msgspec.json.Decoder(list[str | _Part]).decode
_decode_source = msgspec.json.Decoder(str | _Source | None).decode
_HOLDERS = ("content", "output")
_PLAIN = {"role", "content"}
_PLAIN_ROLES = frozenset(f'"{role}"'.encode() for role in get_args(_PlainRole))


def no_strange_addresses(then: Rule | None = None) -> Rule:
    """A rule for a conversation: media come from `gateway.media_hosts` alone, or are in the request itself.

    `then` is asked first, since it may take out what the model cannot read; both only of what holds more than
    texts of the usual roles.
    """

    def check(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
        raw, turns = fields[key], None
        try:
            if len(memoryview(raw)) < SEARCHED_BELOW_BYTES:
                _decode_plain(raw)  # a third of the time that a search takes
                return ()
            # A long one is decoded at once, which reads it three times as fast, and takes no copy of it.
            turns = _decode_turns(raw)
            _check_count(key, turns, limits)
            if _are_plain(turns):
                return ()
        except NOT_JSON:
            if len(memoryview(raw)) >= SEARCHED_BELOW_BYTES:
                # Elements of other kinds count too: the engine refuses them, but looks at each.
                with suppress(*NOT_JSON):
                    _check_count(key, _decode_any(raw), limits)
        left = (then(key, fields, limits) if then is not None else None) or ()
        if fields[key] is not raw:  # rewritten by `then`
            raw, turns = fields[key], None
        long = len(memoryview(raw)) >= SEARCHED_BELOW_BYTES
        if long or _may_name_one(bytes(raw)):
            for place, url in _addresses(key, raw, turns, long):
                if url[:5].lower() != "data:" and (why := fault_of(url, limits.media_hosts)):
                    raise InvalidRequest(
                        f"'{place}' names an address that nothing is fetched from: {why}. Send what it "
                        "leads to in the request itself, as a data: URL.",
                        param=place,
                        code="media_address_refused",
                    )
        return left

    return check


def _check_count(key: str, turns: Sequence[object], limits: Limits) -> None:
    """Each is a token at the least, and the engine takes up to 0.1 ms to see that it is one of its forms.

    Raises InvalidRequest where a prompt of so many would have no room.
    """
    most = limits.context_tokens()
    if most is not None and len(turns) > most and not isinstance(turns, str):
        raise InvalidRequest(
            f"'{key}' has {len(turns)} members; the model's context is {most} tokens.",
            param=key,
            code="context_length_exceeded",
        )


def _are_plain(turns: _Turns) -> bool:
    """Whether all is text that somebody says, so that no engine fetches and no rule reads anything in it."""
    return isinstance(turns, str) or all(
        isinstance(turn, dict)
        and turn.keys() == _PLAIN
        and bytes(turn["role"]) in _PLAIN_ROLES
        and bytes(memoryview(turn["content"])[:1]) == b'"'
        for turn in turns
    )


def _may_name_one(raw: bytes) -> bool:
    # `in` first takes what it looks for for a number, which costs three times as much.
    return raw.find(b"url") >= 0 or (raw.find(b"\\u00") >= 0 and _ESCAPED.search(raw) is not None)


def _addresses(
    key: str, raw: msgspec.Raw, turns: _Turns | None, unsearched: bool
) -> Iterator[tuple[str, str]]:
    """Where a conversation names media by a URL; `turns` is what was decoded of it, if it was.

    Raises InvalidRequest where it cannot be looked through and may name one (`unsearched`: not known yet).
    """
    try:
        turns = _decode_turns(raw) if turns is None else turns
        for index, turn in enumerate(turns if isinstance(turns, list) else []):
            if isinstance(turn, dict):
                for name in filter(turn.__contains__, _HOLDERS):
                    yield from _of_parts(f"{key}[{index}].{name}", turn[name], 0)
    except NOT_JSON as error:
        if not unsearched or _may_name_one(bytes(raw)):
            raise InvalidRequest(f"'{key}' must be text, or list messages: {error}", param=key) from None


def _of_parts(where: str, raw: msgspec.Raw, depth: int) -> Iterator[tuple[str, str]]:
    """Raises ValueError where a list holds anything but parts."""
    # vLLM 0.32 looks no deeper than into a tool's result, so that the bound hides nothing from this.
    if bytes(memoryview(raw)[:1]) != b"[" or depth == MAX_DEPTH:
        return
    for index, part in enumerate(_decode_parts(raw)):
        if isinstance(part, str):
            continue
        place = f"{where}[{index}]"
        for name in _PLACES:
            held: msgspec.Raw = getattr(part, name)
            if name == "source" and bytes(memoryview(held)[:1]) != b"{":
                continue  # a text's own note of where it is from
            source = _decode_source(held) if held is not _NOTHING else None
            url = source.url if isinstance(source, _Source) else source
            if url:
                yield place, url
        yield from _of_parts(f"{place}.content", part.content, depth + 1)


_PLACES = ("image_url", "audio_url", "video_url", "file_url", "source")
