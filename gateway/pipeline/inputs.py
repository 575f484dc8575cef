"""From a client's request to what the stages see: text, parsed value, terms, sampling. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

import jiter
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.errors import InvalidRequest

# The keys under which an object may hold its list of terms, the first found counts.
TERM_LISTS = ("terms", "cluster", "items")
MAX_TERM_WORDS = 8
MAX_LISTED_WORDS = 5
BULLET = re.compile(r"^\s*(?:[-*+•·–—]|\(?\d{1,3}[.)])\s+")
GLOSS = re.compile(r":\s+|：\s*|\t+")
COMMAS = re.compile(r"[,;](?=\s|$)\s*|[、，；]\s*")
TEXTS = ("text", "input_text", "output_text")
"""What APIs call a part of a message that is text; others have a place of their own in the error."""
SENTENCE_END = (".", "!", "?", "。", "！", "？", "…")


@dataclass(frozen=True, slots=True)
class Term:
    """One term, perhaps with a short explanation."""

    term: str
    gloss: str | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """What the client sent: its text, the text parsed where it is a JSON object or list, and its terms."""

    text: str
    value: JsonValue
    terms: tuple[Term, ...]

    def context(self) -> JsonObject:
        """The values that templates and schemas see."""
        terms: list[JsonValue] = [{"term": term.term, "gloss": term.gloss} for term in self.terms]
        return {"input": self.value, "text": self.text, "terms": terms}


def read_input(body: JsonObject, pipeline: str, max_terms: int) -> Input:
    """The input of a chat: its last message. Raises InvalidRequest."""
    text = _last_text(body.get("messages"))
    value = _parsed(text)
    terms = _distinct(_terms_of(value) if isinstance(value, (dict, list)) else terms_in_text(text))
    if not text.strip() or (not terms and _holds_nothing(value)):
        raise InvalidRequest(
            f"the input is empty: '{pipeline}' needs terms or text", param="messages", code="empty_input"
        )
    if len(terms) > max_terms:
        raise InvalidRequest(
            f"the input lists {len(terms)} terms; '{pipeline}' takes at most {max_terms} "
            f"(pipelines.{pipeline}.max_input_terms)",
            param="messages",
            code="too_many_terms",
        )
    return Input(text, value, terms)


def _last_text(messages: JsonValue) -> str:
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("'messages' must be a list with at least one message", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequest("a message must be an object", param=f"messages[{index}]")
    last = len(messages) - 1
    message = messages[last]
    if not isinstance(message, dict) or message.get("role") != "user":
        raise InvalidRequest("the last message must be the user's", param=f"messages[{last}].role")
    return message_text(message.get("content"), last)


def message_text(content: JsonValue, index: int) -> str:
    """The text of the message at `index`. Raises InvalidRequest where it is not text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    param = f"messages[{index}].content"
    if not isinstance(content, list):
        raise InvalidRequest(f"'{param}' must be a string or a list of text parts", param=param)
    parts: list[str] = []
    for number, part in enumerate(content):
        text = part.get("text") if isinstance(part, dict) and part.get("type") in TEXTS else None
        if not isinstance(text, str):
            where = f"{param}[{number}]"
            raise InvalidRequest(f"'{where}' is no text part, and a pipeline reads only those", param=where)
        parts.append(text)
    return "\n".join(parts)


def _parsed(text: str) -> JsonValue:
    stripped = text.strip()
    if not stripped.startswith(("{", "[")):
        return text
    try:
        parsed: JsonValue = jiter.from_json(stripped.encode(), allow_inf_nan=False)
    except ValueError:  # not JSON after all (or a lone surrogate): plain text
        return text
    return parsed


def _holds_nothing(value: JsonValue) -> bool:
    if isinstance(value, dict):
        return not value or any(key in value for key in TERM_LISTS)
    return isinstance(value, list) and all(isinstance(element, str) for element in value)


def _terms_of(value: JsonValue) -> list[Term]:
    """Terms of a JSON input; none where its list is of something else."""
    if isinstance(value, dict):
        value = next((value[key] for key in TERM_LISTS if isinstance(value.get(key), list)), [])
    elements = value if isinstance(value, list) else []
    terms = [_term(element) for element in elements]
    if any(terms) and not all(terms):
        index = terms.index(None)
        raise InvalidRequest(
            f"element {index} of the list is no term: write a string, or an object with 'term' and 'gloss'",
            param="messages",
        )
    return [term for term in terms if term is not None]


def _term(element: JsonValue) -> Term | None:
    if isinstance(element, str):
        return Term(element.strip())
    if not isinstance(element, dict):
        return None
    term, gloss = element.get("term"), element.get("gloss")
    if not isinstance(term, str) or not (gloss is None or isinstance(gloss, str)):
        return None
    return Term(term.strip(), (gloss or "").strip() or None)


def _distinct(terms: list[Term]) -> tuple[Term, ...]:
    """Each term once, in the order of first mention; a later gloss serves a term that had none."""
    kept: dict[str, Term] = {}
    for term in terms:
        if not term.term:
            continue
        known = kept.get(term.term)
        if known is None or (known.gloss is None and term.gloss is not None):
            kept[term.term] = term
    return tuple(kept.values())


def terms_in_text(text: str) -> list[Term]:
    """Terms of plain text: one per line, or one line with commas; prose has none."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and not BULLET.match(lines[0]) and not GLOSS.search(lines[0].strip()):
        pieces = [piece.strip() for piece in COMMAS.split(lines[0].strip()) if piece.strip()]
        return (
            [Term(piece) for piece in pieces]
            if all(_like_a_term(p, MAX_LISTED_WORDS) for p in pieces)
            else []
        )
    if len(lines) > 1 and lines[0].rstrip().endswith((":", "：")) and not BULLET.match(lines[0]):
        lines = lines[1:]  # a heading
    terms: list[Term] = []
    for line in lines:
        name, _, gloss = GLOSS.sub("\0", BULLET.sub("", line).strip(), count=1).partition("\0")
        if not _like_a_term(name.strip(), MAX_TERM_WORDS):
            return []
        terms.append(Term(name.strip(), gloss.strip() or None))
    return terms


def _like_a_term(text: str, max_words: int) -> bool:
    words = len(text.split())
    return 0 < words <= max_words and not (words > 1 and text.endswith(SENTENCE_END))
