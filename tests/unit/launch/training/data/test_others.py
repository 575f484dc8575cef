"""Prompts that are no task's: of every kind, the same each time, and none that is a task's own."""

from __future__ import annotations

from collections import Counter

from launch.training.data.others import other_prompts


def test_prompts_are_many_different_and_the_same_for_a_seed() -> None:
    prompts = other_prompts("Name it.", 400, 7)
    assert len(set(prompts)) == 400
    assert prompts == other_prompts("Name it.", 400, 7)
    assert prompts != other_prompts("Name it.", 400, 8)
    assert other_prompts("Name it.", 100, 7) == prompts[:100]


def test_every_kind_is_among_them() -> None:
    prompts = other_prompts("Name it.", 400, 7)
    assert all(prompt.turns[-1][0] == "user" for prompt in prompts)
    systems = Counter(next((text for role, text in one.turns if role == "system"), None) for one in prompts)
    assert systems["Name it."] > 100
    assert systems[None] > 30
    assert len(systems) > 8
    held = [prompt.given for prompt in prompts if prompt.given]
    assert 30 < len(held) < 100
    assert {given[0] for given in held} == {"{", "["}
    assert sum(any("JSON" in text for _, text in one.turns[-1:]) for one in prompts) > 40
    assert sum(len(one.turns) > 4 for one in prompts) > 40
    doubled = [one for one in prompts if any(a == b for a, b in zip(one.turns, one.turns[1:], strict=False))]
    assert len(doubled) > 20


def test_a_task_without_a_system_prompt_has_prompts_without_one() -> None:
    systems = [role == "system" for one in other_prompts(None, 100, 7) for role, _ in one.turns[:1]]
    assert 20 < sum(systems) < 60
