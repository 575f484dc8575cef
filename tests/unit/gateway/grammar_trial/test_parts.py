"""A grammar's parts: what may explode by itself, and the one rule that leads to each."""

from __future__ import annotations

import json

from gateway.grammar_trial.parts import is_open, literals, patterns, sequences, with_parts

WRITTEN = r"""root ::= (([a-z]* "x" list{0, 5} "y" [0-9]) | ("z" tag)) (=("a" list))
list ::= ("" | ("a" list))
tag ::= TagDispatch(
  ("<a", list),
  loop_after_dispatch=true
)
text ::= Regex("^(a|b \"c)*$", json_string=true)
"""


def test_a_rule_is_read_as_rows_of_elements() -> None:
    body = WRITTEN.split("\n")[0].partition(" ::= ")[2]
    assert sequences(body) == [["[a-z]*", '"x"', "list{0, 5}", '"y"', "[0-9]"], ['"z"', "tag"]]
    assert sequences(r'(("\"(|" [^)\]("]+ a?))') == [[r'"\"(|"', r'[^)\]("]+', "a?"]]


def test_what_is_no_list_of_alternatives_has_none() -> None:
    assert sequences("TagDispatch(") == []
    assert sequences(r'Regex("^(a|b \"c)*$", json_string=true)') == []


def test_only_what_may_be_read_in_several_ways_begins_a_part() -> None:
    assert [is_open(one) for one in ('"a*"', "[a-z]", "[a-z]*", "rule", "rule{2, 3}", "[a]?")] == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]


def test_one_rule_leads_to_each_rule_and_to_each_end_of_a_sequence() -> None:
    text, root, count = with_parts(WRITTEN)
    lines = text.split("\n")
    assert root == "q"
    assert count == 8
    assert 'q_0_2 ::= ((list{0, 5} "y" [0-9] ))' in lines
    assert 'q_0_0 ::= (([a-z]* "x" q_0_2))' in lines
    assert lines[-2].startswith('q ::= (("0000" root) | ("0001" q_0_2) | ("0002" q_0_0) | ')
    assert lines[-2].endswith(' | ("0007" text))')


def test_a_client_that_knows_our_names_changes_nothing() -> None:
    text, root, _ = with_parts('root ::= ((q_0_1 qq))\nq_0_1 ::= (("a"))\nqq ::= (("b"))\n')
    assert root == "qqq"
    names = [line.partition(" ::= ")[0] for line in text.strip().split("\n") if line]
    assert len(names) == len(set(names))


def test_bytes_of_its_texts_are_likely() -> None:
    assert {*b"xyaz"} <= literals(WRITTEN)
    assert not literals(WRITTEN) & {*b"0"}


def test_patterns_are_found_wherever_they_stand() -> None:
    schema = {
        "properties": {"a": {"pattern": "a"}, "pattern": {"type": "string"}},
        "items": [{"patternProperties": {"b": {"pattern": "a"}}}],
        "format": {"type": "regex", "pattern": "c"},
    }
    assert {*patterns(json.dumps(schema))} == {"a", "b", "c"}
