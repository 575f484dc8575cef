"""Sound inputs made unsound: bytes flipped, cut, doubled, swapped, mixed with what parsers stumble over."""

from __future__ import annotations

import random
from collections.abc import Sequence

TOKENS = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b",",
        b":",
        b"null",
        b"true",
        b"-0",
        b"1e999",
        b"NaN",
        b"Infinity",
    ),
    *(
        b"\\u0000",
        b"\\ud800",
        b"\\udc00",
        b"\\u0022",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\xc3",
        b"\x00",
        b"\xe2\x80\xa8",
    ),
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b" ",
        b"\t",
        b"\x0b",
        b";",
        b"=",
        b"0\r\n\r\n",
        b"ffffffffffffffff",
    ),
    *(
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/9.9",
        b"GET ",
        b"POST ",
        b"transfer-encoding: chunked\r\n",
        b"content-length: ",
    ),
    *(
        b"content-length: 5\r\n",
        b"connection: close\r\n",
        b"expect: 100-continue\r\n",
        b"host: x\r\n",
        b"upgrade: h2c\r\n",
    ),
    *(
        b"data: ",
        b"event: error\n",
        b"[DONE]",
        b'data: {"error"',
        b'"choices":[]',
        b"9" * 40,
        b"[" * 70,
        b'{"a":' * 70,
    ),
)


class Mutator:
    """By one seed always the same."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def mutated(self, sound: Sequence[bytes]) -> bytes:
        """One of them, changed a few times; now and then not at all."""
        data = self.chance.choice(sound)
        for _ in range(self.chance.choice((0, 1, 1, 2, 3, 8))):
            data = self._once(data, sound)
        return data

    def cut(self, data: bytes) -> list[bytes]:
        """In pieces, as it may come."""
        chance = self.chance
        if chance.random() < 0.3 or len(data) < 2:
            return [data]
        places = sorted({chance.randrange(1, len(data)) for _ in range(chance.choice((1, 2, 5, 20)))})
        return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]

    def cut_text(self, text: str) -> list[str]:
        """The same, of characters."""
        place = self.chance.randrange(len(text) + 1)
        return [text[:place], text[place:]]

    def _once(self, data: bytes, sound: Sequence[bytes]) -> bytes:
        chance = self.chance
        a, b = sorted((chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)))
        if b - a > 200 and chance.random() < 0.8:
            b = a + chance.randrange(200)
        kind = chance.randrange(6)
        if kind == 0:
            return data[:a] + chance.choice(TOKENS) + data[a:]
        if kind == 1:
            return data[:a] + chance.choice(TOKENS) + data[b:]
        if kind == 2:
            return data[:a] + data[b:]
        if kind == 3:
            return data[:b] + data[a:]
        if kind == 4:
            other = chance.choice(sound)
            return data[:a] + other[chance.randrange(len(other) + 1) :]
        return data[:a] + bytes([chance.randrange(256)]) + data[a + 1 :]
