"""The order of training: what is held out, batches, the rate of learning."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.training.batches import (
    OPEN_WEIGHT,
    Sample,
    batches_by_length,
    encode,
    encode_all,
    hold_out,
    learning_rate,
    shared_head,
)
from launch.training.examples import Example, ExampleFile
from launch.training.model import load_tokenizer


def test_learning_rate_warms_up_and_ends_low() -> None:
    rates = [learning_rate(step / 100, 1.0) for step in range(101)]
    assert rates[0] < 0.1
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates[-1] == pytest.approx(0.03)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_shared_head_ends_before_the_first_answer_is_foretold() -> None:
    assert shared_head([Sample([1, 2, 3, 4], 3), Sample([1, 2, 5, 4], 3)]) == 2
    assert shared_head([Sample([1, 2, 3, 4], 3), Sample([1, 5, 3, 4], 3)]) == 1
    # All prompts alike, one of them shorter, one alone, and one that is all answer.
    assert shared_head([Sample([1, 2, 3, 4], 3), Sample([1, 2, 3, 5], 3)]) == 2
    assert shared_head([Sample([1, 2, 3, 4], 3), Sample([1, 2, 3, 4], 2)]) == 1
    assert shared_head([Sample([1, 2, 3, 4], 3)]) == 0
    assert shared_head([Sample([1, 2], 0), Sample([1, 2], 1)]) == 0


def test_batches_hold_samples_of_like_length_and_each_once() -> None:
    rng = random.Random(0)
    samples = [Sample([at] * rng.randint(1, 90), 1) for at in range(80)]
    batches = list(batches_by_length(iter(samples), 4))
    assert sorted(sample.ids[0] for batch in batches for sample in batch) == list(range(80))
    assert all(len(batch) == 4 for batch in batches)
    spread = [max(len(s.ids) for s in batch) - min(len(s.ids) for s in batch) for batch in batches]
    assert sum(spread) / len(spread) < 25


def test_tokens_of_an_open_part_count_less_and_no_other(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    answer = "red say red of red"
    plain = encode(tokenizer, None, Example("say", answer))
    opened = encode(tokenizer, None, Example("say", answer, open=("say red", "not there")))
    assert plain.weights == ()
    assert plain.ids == opened.ids
    assert opened.weights == (1.0, OPEN_WEIGHT, OPEN_WEIGHT, 1.0, 1.0, 1.0)  # the last is the turn's end
    assert plain.counts() == (1.0,) * 6


def test_what_an_answer_is_given_to_begin_with_is_not_learned(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    sample = encode(tokenizer, None, Example("say", "red say green of", given="red say "))
    assert sample.weights == (0.0, 0.0, 1.0, 1.0, 1.0)


def test_what_was_said_before_is_seen_and_the_answer_alone_is_learned(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    turns = (("user", "say red"), ("assistant", "red"), ("user", "say green"))
    sample = encode(tokenizer, "say", Example("say green", "green", turns=turns))
    whole = "[system] say [user] say red [assistant] red [user] say green [assistant] green [end]"
    assert tokenizer.decode(sample.ids) == whole
    assert tokenizer.decode(sample.ids[sample.answer_at :]) == "green [end]"


def test_turns_that_a_chat_template_refuses_are_named_with_their_line(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('No system.') }}{% endif %}"
    )
    file = ExampleFile(Path("own.jsonl"), [Example("say", "red")], [7])
    with pytest.raises(ConfigError, match=r"own\.jsonl:7: .*refuses its turns \(system, user\): No system\."):
        encode_all(tokenizer, "say", file, 64)


def test_how_many_are_too_long_is_said_at_once(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    examples = [Example("say " * length, "red") for length in (1, 20, 30, 2)]
    file = ExampleFile(Path("own.jsonl"), examples, [1, 2, 3, 4])
    with pytest.raises(ConfigError, match=r"own\.jsonl:2: has 24 tokens; .*; 1 more are too long, .* has 34"):
        encode_all(tokenizer, None, file, 16)


def test_a_conversation_is_held_out_whole_and_a_common_greeting_not_at_all() -> None:
    asked = [(("user", f"p{at}"), ("assistant", "a"), ("user", "more")) for at in range(40)]
    examples = [
        one for turns in asked for one in (Example(turns[0][1], "a"), Example("more", "b", turns=turns))
    ]
    chosen = hold_out(examples, 0.1)
    assert len(chosen) == 8
    assert {at ^ 1 for at in chosen} == chosen
    greeted = [*examples, *[Example("hi", str(at)) for at in range(200)]]
    assert max(hold_out(greeted, 0.05)) < len(examples)
