"""Whose rows a batch holds."""

from __future__ import annotations

import torch

from launch.engine.vllm_plugin.step import NOBODY, ROWS_EACH, Group, in_pieces, step_of


def numbers(group: Group, batch: int) -> list[int]:
    every = torch.arange(batch)
    found: list[int] = (every if group.rows is None else every[group.rows]).tolist()
    return found


def test_a_batch_of_the_base_is_nobodys() -> None:
    assert step_of([]) is NOBODY
    assert step_of([-1, -1]) is NOBODY


def test_each_slot_has_its_rows_and_the_base_is_in_none() -> None:
    batch = [2, -1, 0, 2, -1, 0, 0]
    step = step_of(batch)
    assert step.slots == (0, 2)
    assert [(group.slot, numbers(group, 7), group.count) for group in step.groups] == [
        (0, [2, 5, 6], 3),
        (2, [0, 3], 2),
    ]
    assert step.by_row.tolist() == batch


def test_neighbours_are_taken_without_a_copy() -> None:
    step = step_of([-1, 1, 1, 0, -1])
    assert [group.rows for group in step.groups] == [slice(3, 4), slice(1, 3)]
    assert step.whole == slice(1, 4)
    assert step_of([1, 1]).groups[0].rows is None


def test_few_rows_of_several_adapters_share_a_product_and_many_do_not() -> None:
    assert step_of([0, 1] * (ROWS_EACH - 1)).thin
    assert not step_of([0, 1] * ROWS_EACH).thin
    assert not step_of([0] * 3).thin


def test_a_long_prompt_is_a_run_of_its_own_and_those_who_decode_beside_it_share() -> None:
    long = 3 * ROWS_EACH
    step = step_of([0, 1, 2, 1, *[0] * long])
    assert step.runs == (Group(0, slice(4, 4 + long), long),)
    assert (step.slots, step.whole, step.thin) == ((0, 1, 2), slice(0, 4), True)
    assert step.by_row.tolist() == [0, 1, 2, 1]
    assert [group.count for group in step.rest] == [1, 2, 1]
    assert [(group.slot, group.count) for group in step.groups] == [(0, 1 + long), (1, 2), (2, 1)]


def test_a_prompt_that_leaves_few_enough_rows_shares_with_the_others() -> None:
    step = step_of([0, 1, 2, 1, *[0] * ROWS_EACH])
    assert step.thin
    assert (step.runs, step.rest) == ((), step.groups)


def test_a_prompt_among_the_others_is_none_of_theirs() -> None:
    long = [1] * 2 * ROWS_EACH
    step = step_of([0, *long, -1, 1, 2])
    assert step.thin
    assert (step.runs, step.by_row.tolist()) == ((), [0, *long, -1, 1, 2])
    step = step_of([0, *long, *long, -1, 1, 2])
    assert [group.slot for group in step.runs] == [1]
    assert step.by_row.tolist() == [0, *[-1] * 4 * ROWS_EACH, -1, 1, 2]
    assert not step.thin, "the others lie too far from each other for one product"


def test_one_adapters_rows_are_one_group_whatever_they_are_of() -> None:
    step = step_of([3] * ROWS_EACH)
    assert step.rest == step.groups == (Group(3, None, ROWS_EACH),)
    step = step_of([3, -1, *[3] * 40])
    assert [(group.slot, group.count) for group in step.rest] == [(3, 41)]
    assert not step.runs


def test_a_mask_is_made_once() -> None:
    step = step_of([1, -1, 0])
    mask = step.mask((0, 1), (2, 1), torch.float32)
    assert mask.tolist() == [[0, 0, 1, 1, 0, 1], [0] * 6, [1, 1, 0, 0, 1, 0]]
    assert step.mask((0, 1), (2, 1), torch.float32) is mask
    assert step.mask((0, 1), (2, 1), torch.bfloat16) is not mask


def test_pieces_hold_every_row_once() -> None:
    for batch in ([0] * 7, [-1, *[0] * 5, 1, 1], [0, 1] * 4):
        step = step_of(batch)
        pieces = in_pieces(step, 3)
        assert max(piece.count for piece in pieces) <= 3
        for group in step.groups:
            found = [
                row for piece in pieces if piece.slot == group.slot for row in numbers(piece, len(batch))
            ]
            assert found == numbers(group, len(batch))
