"""Weighted rendezvous hashing: in which order engines are an adapter's, without anybody to agree with.

Whoever asks gets the same order. An engine that goes or comes changes the first place of those adapters alone
that it was or becomes first for, which is its share by weight.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

WORD = (1 << 64) - 1
BYTES = 8
FIELD = 128
"""Bits that a product of two words takes, and the sum with a third."""


def ranking(
    adapter_id: str, engine_names: Sequence[str], weights: Mapping[str, float] | None = None
) -> list[str]:
    """The engines, an adapter's first choice first; without `weights` all count alike.

    An engine of twice the weight is the first choice of twice as many adapters; one of weight 0 comes last.
    """
    multiplier, offset = _line_of(adapter_id)
    scores: dict[str, float] = {name: (multiplier * _seed_of(name) + offset) & WORD for name in engine_names}
    if weights is not None:
        scores = {name: weighed(int(height), weights.get(name, 1.0)) for name, height in scores.items()}
    return sorted(scores, key=lambda name: (-scores[name], name))


class Heights:
    """The scores of many adapters on the same engines, as `ranking` orders by them where all count alike: the
    highest is an adapter's first choice.

    Each adapter has a line, each engine a point, and a score is the line's height there, modulo 2^64: a hash
    of each pair would cost many times as much. All of an adapter's come out of one multiplication, by a
    number in which every engine's point has a field: 20,000 adapters on 200 engines are 4,000,000 scores.
    """

    def __init__(self, engine_names: Sequence[str]) -> None:
        self.names = tuple(engine_names)
        self._points = sum(_seed_of(name) << (FIELD * place) for place, name in enumerate(self.names))
        self._ones = sum(1 << (FIELD * place) for place in range(len(self.names)))

    def in_order(self, adapter_id: str) -> Iterator[tuple[int, str]]:
        """(score, name), the highest first. Of most scores only the first byte is looked at."""
        words = self._words(adapter_id)
        # Each score's highest byte; what looks through all of them (`max`, `translate`) runs in C.
        firsts = bytearray(words[BYTES - 1 :: 2 * BYTES])
        while firsts:
            most = max(firsts)
            places = [place for place, byte in enumerate(words[BYTES - 1 :: 2 * BYTES]) if byte == most]
            found = [(self._score(words, place), self.names[place]) for place in places]
            yield from sorted(found, reverse=True)
            firsts = firsts.translate(None, bytes((most,)))

    def _words(self, adapter_id: str) -> bytes:
        """A field for each of `names`, of which the first half is its score, the lowest byte first."""
        multiplier, offset = _line_of(adapter_id)
        products = multiplier * self._points + offset * self._ones
        return products.to_bytes(2 * BYTES * len(self.names), "little")

    def _score(self, words: bytes, place: int) -> int:
        return int.from_bytes(words[2 * BYTES * place : 2 * BYTES * place + BYTES], "little")


def weighed(height: int, weight: float) -> float:
    """The height as a chance in (0, 1), raised for the heavy: -weight / ln(chance) (logarithmic method)."""
    # A float holds 52 bits and a half exactly, so that the chance is never 0 or 1.
    return -weight / math.log(((height >> 12) + 0.5) * 2.0**-52) if weight > 0 else 0.0


@lru_cache(maxsize=4096)
def _seed_of(engine_name: str) -> int:
    """An engine's point: 64 bits of its name, in every process the same."""
    return int.from_bytes(hashlib.blake2b(engine_name.encode(), digest_size=8).digest())


def _line_of(adapter_id: str) -> tuple[int, int]:
    """An adapter's slope, which is odd so that no two engines share a height, and its offset."""
    digest = hashlib.blake2b(adapter_id.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8]) | 1, int.from_bytes(digest[8:])
