"""How long the lists of one request may be: the engine walks through some of them for each token.

Measured on vLLM 0.32: its check of 100,000 stop strings takes 21 ms for each token of each answer, in the
loop that serves everybody, of 128 15 us; to make a bias of 131,072 tokens takes 129 ms, of 4,096 1.2 ms;
262,144 allowed tokens, the largest vocabulary, 11 ms once. OpenAI takes 4 stop strings, chat pages with
several characters send some dozens. Of bad words and of tokens whose log-probabilities are wanted vLLM
takes 128.

Nothing is decoded before it is known to be small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from gateway.dialects.parameters import Limits, Rule, asks_nothing, object_of, value_of, whole_number
from gateway.dialects.request_body import Fields
from gateway.errors import NOT_JSON, InvalidRequest

MAX_TEXT_LIST_BYTES = 64 * 1024
"""Stop strings or bad words of one request, all together."""
MOST_OF_THE_ENGINES = 128
"""Bad words, and tokens whose log-probabilities are wanted: vLLM's own bounds."""

_decode_texts = msgspec.json.Decoder(str | list[msgspec.Raw]).decode


MOST_OF_A_PATTERN = 256
"""Tokens: the engine tries each length up to the longest, for each token of each answer."""
MAX_INTERVAL = 1024 * 1024
"""Tokens between two events of a stream: more than any answer has, and a number that the engine can hold."""
Bound = str | int
"""The limit's field, or a number that is not configured."""


def texts(bound: Bound) -> Rule:
    """A string, or a list of at most so many strings."""

    def check(key: str, fields: Fields, limits: Limits) -> None:
        most = _most(bound, limits)
        raw = memoryview(fields[key])
        # vLLM refuses it too, but names no parameter. A text that ends in an escaped quote has `""` as well.
        if len(raw) <= MAX_TEXT_LIST_BYTES and b'""' in bytes(raw) and _has_empty(raw):
            raise InvalidRequest(f"'{key}' holds an empty string; leave it out.", param=key)
        if len(raw) <= 3 * most:  # each has two quotes and a comma
            return
        if len(raw) > MAX_TEXT_LIST_BYTES:
            raise InvalidRequest(
                f"'{key}' has {len(raw)} bytes; it may have {MAX_TEXT_LIST_BYTES}.",
                param=key,
            )
        try:
            found = _decode_texts(raw)
        except NOT_JSON:
            return  # the engine says what is wrong with it
        if isinstance(found, list) and len(found) > most:
            raise _too_many(key, len(found), bound, most)

    return check


def _has_empty(raw: memoryview) -> bool:
    try:
        found = _decode_texts(raw)
    except NOT_JSON:
        return False
    return isinstance(found, list) and any(bytes(one) == b'""' for one in found)


def numbers(bound: Bound) -> Rule:
    """A list of token ids, or an object by token ids, with at most so many members."""

    def check(key: str, fields: Fields, limits: Limits) -> None:
        most = _most(bound, limits)
        raw = fields[key]
        if len(memoryview(raw)) <= 2 * most:  # each has a digit and a comma
            return
        found = bytes(raw).count(b",") + 1
        if found > most:
            raise _too_many(key, found, bound, most)

    return check


def least_length(key: str, fields: Fields, limits: Limits) -> None:
    """A rule for `min_tokens`: from 0 to the model's context."""
    _within(key, fields, 0, limits.context_tokens() or MAX_INTERVAL)


def interval(key: str, fields: Fields, limits: Limits) -> None:
    """A rule: `stream_interval`, tokens between two events, is from 1 to `MAX_INTERVAL`."""
    _within(key, fields, 1, MAX_INTERVAL)


def patterns(key: str, fields: Fields, limits: Limits) -> None:
    """A rule: `repetition_detection` looks for patterns of up to so many tokens, each time one is made."""
    for name, size in (object_of(key, value_of(key, fields)) or {}).items():
        if not isinstance(size, (int, float)) or size > MOST_OF_A_PATTERN:
            what = f"has {name[:40]} {repr(size)[:40]}"
            raise InvalidRequest(f"'{key}' {what}; it may be up to {MOST_OF_A_PATTERN}.", param=key)


def _within(key: str, fields: Fields, least: int, most: int) -> None:
    value = whole_number(key, fields[key])
    if value is not None and not least <= value <= most:
        raise InvalidRequest(f"'{key}' is {value}; it may be from {least} to {most}.", param=key)


def _most(bound: Bound, limits: Limits) -> int:
    most: int = bound if isinstance(bound, int) else getattr(limits, bound)
    return most


def _too_many(key: str, found: int, bound: Bound, most: int) -> InvalidRequest:
    told = f" (gateway.{bound})" if isinstance(bound, str) else ", as the engine says"
    return InvalidRequest(
        f"'{key}' has {found} members; it may have {most}{told}.", param=key, code="too_many_members"
    )


TEXTS = texts("max_stop_strings")


def unless_empty(rule: Rule) -> Rule:
    """What is empty asks for nothing, and the engine would refuse it: `"stop": ""`, `"logit_bias": []`."""

    def check(key: str, fields: Fields, limits: Limits) -> Sequence[str] | None:
        if asks_nothing(fields[key]):
            del fields[key]
            return None
        return rule(key, fields, limits)

    return check


LIST_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "stop": unless_empty(TEXTS),
        "bad_words": texts(MOST_OF_THE_ENGINES),
        "stop_token_ids": numbers("max_logit_bias"),
        "logit_bias": unless_empty(numbers("max_logit_bias")),
        "allowed_token_ids": numbers("max_allowed_token_ids"),
        "logprob_token_ids": numbers(MOST_OF_THE_ENGINES),
        "min_tokens": least_length,
        "repetition_detection": patterns,
        "stream_interval": interval,
    }
)
"""For the sampling parameters that every generating route shares, where it has them."""
