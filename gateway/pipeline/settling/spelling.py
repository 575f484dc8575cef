"""When two words are the same word."""

from __future__ import annotations

import unicodedata


def folded(text: str) -> str:
    """What is the same for any case, form of Unicode, and white space between words."""
    # Once more behind the folding, which takes letters such as ǰ apart.
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())
