"""The process of trials, with the engine's own library: what explodes is found, and what is sound passes."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, Field

from gateway.dialects.cost.grammars import grammars_of
from gateway.dialects.request_body import fields_of
from gateway.grammar_trial.process import PROGRAM
from gateway.grammar_trial.trials import _FAULTS

BOMB = "((a{0,200}){0,200}){0,50}"
EBNF_BOMB = '(("a"{0,200}){0,200}){0,50}'


class Program:
    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(PROGRAM, stdin=pipe, stdout=pipe, text=True)
        assert self._line() == "ready"

    def ask(self, kind: str, text: Any) -> str:
        assert self._child.stdin is not None
        asked = {"kind": kind, "text": text if isinstance(text, str) else json.dumps(text)}
        self._child.stdin.write(json.dumps(asked) + "\n")
        self._child.stdin.flush()
        return self._line()

    def end(self) -> int:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.stdout.close()
        return self._child.wait()

    def _line(self) -> str:
        assert self._child.stdout is not None
        return str(json.loads(self._child.stdout.readline())["end"])


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    made = Program()
    yield made
    assert made.end() == 0


def an_object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


def tagged(content: Any) -> dict[str, Any]:
    """Behind a tag that stands somewhere in a text."""
    tags = [{"begin": "<a>", "content": content, "end": "</a>"}]
    return {"type": "structural_tag", "format": {"type": "triggered_tags", "triggers": ["<a"], "tags": tags}}


def older_tag(schema: Any) -> dict[str, Any]:
    """As engines still take it, though the library itself does not."""
    tags = [{"begin": "<a>", "schema": schema, "end": "</a>"}]
    return {"type": "structural_tag", "structures": tags, "triggers": ["<a"]}


COSTLY: list[tuple[str, Any]] = [
    ("regex", BOMB),
    ("regex", f"z{{500}}{BOMB}"),
    ("regex", f"(z{{500}}({BOMB}x)){{2}}"),
    ("json", an_object(a={"type": "string", "pattern": f"^{BOMB}$"})),
    ("json", {"type": "object", "patternProperties": {f"^z{{500}}{BOMB}$": {}}}),
    ("grammar", 'root ::= x\nx ::= "a" | x x'),
    ("grammar", f'root ::= "{"z" * 500}" x\nx ::= "a" | x x'),
    ("grammar", 'root ::= y{500} x\ny ::= [0-9]\nx ::= "a" | x x'),
    ("structural_tag", {"type": "structural_tag", "format": {"type": "regex", "pattern": BOMB}}),
    ("grammar", f'root ::= [a-z]* "x7Qz" {EBNF_BOMB}'),
    ("grammar", f'root ::= ([a-z] | "x7Qz" {EBNF_BOMB})*'),
    ("grammar", 'start: /[a-z]*/ | "x7Qz" y\ny: "a" | y y'),
    ("regex", f"[a-z]*x7Q{BOMB}"),
    ("json", an_object(a={"type": "string", "pattern": f"^[a-z]*x7Q{BOMB}$"})),
    ("structural_tag", tagged({"type": "grammar", "grammar": 'root ::= "a" | root root'})),
    ("structural_tag", older_tag(an_object(a={"type": "string", "pattern": BOMB}))),
]
"""Whole, behind a long text, behind one that seldom comes, and in the older form of a structural tag."""


@pytest.mark.parametrize(("kind", "text"), COSTLY, ids=lambda one: str(one)[:24])
def test_what_explodes_is_found(program: Program, kind: str, text: Any) -> None:
    assert program.ask(kind, text) == "cpu"


def test_what_admits_no_text_is_found(program: Program) -> None:
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    assert [program.ask("json", one) for one in ({"$ref": "#"}, loop)] == ["nothing"] * 2


def test_what_is_no_grammar_is_left_to_the_engine(program: Program) -> None:
    assert program.ask("regex", "foo**") == "refused"
    assert program.ask("grammar", "root ::= y") == "refused"
    assert _FAULTS["refused"] == ""


class Part(BaseModel):
    name: str = Field(max_length=100)
    parts: list[Part] = []


class Order(BaseModel):
    id: str = Field(pattern=r"^[A-Z]{2}-\d{4,8}(-[a-z0-9]+)*$")
    email: str = Field(pattern=r"^[\w.+-]+@[\w-]+(\.[\w-]+)+$")
    lines: list[Part] = Field(min_length=1, max_length=50)
    note: str | None = Field(None, max_length=2000)
    total: float = Field(ge=0)


STEP = an_object(explanation={"type": "string"}, output={"type": "string"})
CHAIN: dict[str, Any] = {
    f"a{one}": {"anyOf": [{"type": "null"}, an_object(next={"$ref": f"#/$defs/a{one + 1}"})]}
    for one in range(20)
}
CHAIN["a20"] = {"type": "null"}
GRAMMARS = [
    r"""root ::= object
value ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}" ws
array ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= "" | " " | "\n" [ \t]{0,20}
""",
    r"""root ::= (expr "=" ws term "\n")+
expr ::= term ([-+*/] term)*
term ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num ::= [0-9]+ ws
ws ::= [ \t\n]*
""",
    r"""root ::= item+
item ::= "- " [^\r\n]+ "\n"
""",
    r"""root ::= "SELECT " columns " FROM " name (" WHERE " condition)? (" ORDER BY " name)? ";"
columns ::= "*" | name (", " name)*
name ::= [a-z] [a-z_]{0,30}
condition ::= comparison ((" AND " | " OR ") comparison)*
comparison ::= name " " ("=" | "<" | ">" | "LIKE") " " literal | "(" condition ")"
literal ::= "'" [^']* "'" | [0-9]+
""",
    r"""root ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")+
move ::= (pawn | nonpawn | castle) [+#]?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?
""",
    r"""root ::= sentence (" " sentence){0,9}
sentence ::= subject " " verb (" " object)? "."
subject ::= article " " adjective* noun | pronoun
object ::= article " " adjective* noun
adjective ::= ("old" | "green" | "quick") " "
article ::= "the" | "a"
noun ::= "fox" | "dog" | "tree" | noun " of " article " " noun
pronoun ::= "she" | "it"
verb ::= "sees" | "likes" | "runs"
""",
]
"""As people write them: JSON, sums, a list, a query, chess, sentences."""
SOUND: list[tuple[str, Any]] = [
    ("json", an_object(steps={"type": "array", "items": STEP}, final_answer={"type": "string"})),
    ("json", Order.model_json_schema()),
    ("json", Part.model_json_schema()),
    ("json", {"enum": [f"value number {number}" for number in range(500)]}),
    ("json", an_object(members={"type": "array", "items": {"enum": [f"term {one}" for one in range(500)]}})),
    ("json", {"type": "object", "properties": {f"p{one}": {"type": "string"} for one in range(200)}}),
    ("json", an_object(**{f"p{one}": {"type": "string", "maxLength": 500 + one} for one in range(10)})),
    ("json", {"$ref": "#/$defs/a0", "$defs": CHAIN}),
    ("json", {"type": "object", "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}}}),
    ("json", {"type": "object", "patternProperties": {"^x-[a-z]{1,20}$": {"type": "string"}}}),
    ("json", {"type": "object", "properties": {"a": {}, "b": {"type": "integer"}}, "minProperties": 1}),
    ("json", {"type": "array", "items": {"type": "integer"}, "minItems": 1000000}),
    ("regex", r"(?:(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)\.){3}(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"),
    ("regex", r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})"),
    ("regex", r"([a-z]{1,50} ){0,200}"),
    ("regex", r"([^\n]{0,1000}\n){0,1000}"),
    ("regex", r"https?://([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}(/[^ ]*)?"),
    ("regex", "a{100000}"),
    ("grammar", 'root ::= e\ne ::= t | e "+" t\nt ::= f | t "*" f\nf ::= "(" e ")" | [0-9]+'),
    ("grammar", "start: NAME\nNAME: /[a-z]+/"),
    *(("grammar", text) for text in GRAMMARS),
    ("structural_tag", {"type": "structural_tag", "format": {"type": "json_schema", "json_schema": STEP}}),
    ("structural_tag", tagged({"type": "json_schema", "json_schema": STEP})),
    ("structural_tag", older_tag(STEP)),
    ("grammar", 'start: item+\nitem: "- " WORD (" " WORD)* NL\nWORD: /[a-zA-Z]+/\nNL: "\\n"'),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), SOUND, ids=lambda one: str(one)[:24])
def test_what_clients_send_passes(program: Program, kind: str, text: Any) -> None:
    assert program.ask(kind, text) == "fine"


def plain(chance: random.Random, depth: int) -> Any:
    """A schema of those that need no trial."""
    kind = chance.choice(
        ["string", "integer", "number", "boolean", "null", "enum", "array", "object", "anyOf"]
    )
    if kind == "enum":
        return {
            "enum": [
                chance.choice(["a", f"value {number}", number, None])
                for number in range(chance.choice([1, 300]))
            ]
        }
    if depth == 0 or kind in ("string", "integer", "number", "boolean", "null"):
        bounds = {"minLength": chance.choice([0, 99]), "maxLength": chance.choice([99, 99_999])}
        whole = {"minimum": chance.randrange(-(10**9), 0), "maximum": chance.randrange(10**9)}
        return {"type": kind if depth else "string"} | {"string": bounds, "integer": whole}.get(kind, {})
    if kind == "array":
        return {"type": "array", "items": plain(chance, depth - 1), "maxItems": chance.choice([3, 99_999])}
    if kind == "anyOf":
        return {"anyOf": [plain(chance, depth - 1) for _ in range(chance.choice([2, 9]))]}
    names = [f"p{number}" for number in range(chance.choice([2, 8, 40]))]
    properties = {name: plain(chance, depth - 1 if len(names) < 9 else 0) for name in names}
    return {"type": "object", "properties": properties, "required": chance.sample(names, len(names) // 2)}


@pytest.mark.parametrize("seed", range(12))
def test_what_is_let_through_without_a_trial_would_pass_it(program: Program, seed: int) -> None:
    schema = plain(random.Random(seed), 4)
    while len(json.dumps(schema)) < 8_000:  # small ones are easy
        schema = {"anyOf": [schema, plain(random.Random(seed + len(json.dumps(schema))), 4)]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert grammars_of(fields_of({"response_format": form})) == []
    assert program.ask("json", schema) == "fine"
