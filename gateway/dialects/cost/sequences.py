"""How many sequences one request makes at the engine: its prompts or inputs, times the answers to each.

Beam search keeps `n` sequences for each prompt, so it counts as what it is. What is listed is counted by its
bytes: 2,400,000 prompts of one letter are 9.6 MB, and would be decoded only to be refused.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.dialects.parameters import whole_number
from gateway.dialects.request_body import Fields
from gateway.errors import NOT_JSON, InvalidRequest

_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def sequences_of(fields: Fields, listed: str, defaults: Mapping[str, msgspec.Raw], most: int) -> int:
    """Of a checked request. `listed` names what may be a list of prompts, `defaults` are the task's own.

    Raises InvalidRequest (400) where there are more than `most`.
    """
    prompts = prompts_in(fields[listed]) if listed in fields else 1
    answers = 1
    given = fields.get("n", defaults.get("n"))
    if given is not None:
        answers = max(1, whole_number("n", given) or 1)
    if prompts * answers > most:
        each = f" with {answers} answers each" if answers > 1 else ""
        raise InvalidRequest(
            f"'{listed or 'n'}' asks for {prompts} prompts{each}; one request may have {most} sequences "
            f"(gateway.max_sequences). Send several requests.",
            param=listed or "n",
            code="too_many_sequences",
        )
    return prompts * answers


def prompts_in(raw: msgspec.Raw) -> int:
    """How many prompts a value lists: texts, lists of token ids, or conversations; 1 for a single one."""
    if bytes(memoryview(raw)[:1]) != b"[":
        return 1
    text = bytes(raw)
    # `lstrip` copies what it is given, and the first character seldom comes later.
    first = (text[1:1024].lstrip() or text[1:].lstrip())[:1]
    if first == b'"':
        if b"\\" in text:
            text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
        return _count(text, b'"') // 2
    # Token ids: brackets can be counted where no text may hold one.
    if first == b"[" and b"{" not in text:
        return max(1, _count(text, b"]") - 1)
    if first in (b"[", b"{"):
        try:
            return max(1, len(_decode_list(text)))
        except NOT_JSON:
            return 1  # the engine says what is wrong with it
    return 1  # token ids, or nothing


def _count(text: bytes, mark: bytes) -> int:
    """`bytes.count` of what stands everywhere takes several times as long."""
    return len(text) - len(text.translate(None, mark))
