"""How layers of several kinds share one pool of blocks, and what a request takes of it."""

from __future__ import annotations

from dataclasses import replace

from launch.base.shape.kv_layers import LayerCache
from launch.base.shape.kv_layout import KvCacheGroup, Storing, lay_out

PLAIN = Storing(dtype_bytes=2, kv_dtype="auto", block_size=16, batched_tokens=64)
FULL = LayerCache("full", 4, 16, 2)
WINDOW = LayerCache("window", 4, 16, 2, 32)


def test_layers_of_one_kind_share_one_table() -> None:
    layout = lay_out([FULL], PLAIN)
    assert layout.bytes_per_token == 4 * 16 * 2
    assert layout.block_bytes == 16 * layout.bytes_per_token
    assert (layout.request_blocks(1), layout.request_blocks(17)) == (1, 2)


def test_layer_with_a_window_takes_no_more_than_the_window_and_what_is_in_flight() -> None:
    group = KvCacheGroup(16, window=32)
    assert group.blocks(10_000, 64) == group.blocks(20_000, 64) == 7  # (31 + 64) / 16, and one more
    assert group.blocks(16, 64) == 2
    assert lay_out([WINDOW], replace(PLAIN, whole_context=True)).request_blocks(1600) == 100


def test_layers_of_two_kinds_draw_on_one_pool() -> None:
    layout = lay_out([FULL, WINDOW], PLAIN)
    assert layout.groups == (KvCacheGroup(16), KvCacheGroup(16, window=32))
    assert layout.block_bytes == 16 * 4 * 16 * 2
    assert layout.request_blocks(1600) == 100 + 7


def test_cards_share_the_heads_as_long_as_there_are_some() -> None:
    sizes = [lay_out([FULL], replace(PLAIN, cards=cards)).bytes_per_token for cards in (1, 2, 4)]
    assert sizes == [128, 64, 64]  # of two heads there is one on each of four


def test_smaller_types_take_less() -> None:
    def per_token(kv_dtype: str) -> int:
        return lay_out([FULL], replace(PLAIN, kv_dtype=kv_dtype)).bytes_per_token

    assert [per_token(one) for one in ("auto", "fp8", "nvfp4")] == [128, 64, 36]


def test_state_is_the_same_whatever_the_length() -> None:
    state = LayerCache("state", 2, 30, recurrent=160, blocks=2)
    layout = lay_out([state], PLAIN)
    assert layout.block_bytes == 2 * (30 + 160) * 2
    assert layout.request_blocks(10) == layout.request_blocks(10_000) == 1
    wide = lay_out([state], replace(PLAIN, float32_states=True))
    assert wide.block_bytes == 2 * (30 * 2 + 160 * 4)


def test_block_grows_to_a_state_beside_attention() -> None:
    state = LayerCache("state", 2, 0, recurrent=10_000, blocks=2)
    layout = lay_out([FULL, state], PLAIN)
    (attending,) = [group for group in layout.groups if not group.states][:1]
    assert attending.block_size * 16 * 2 >= 10_000 * 2
    assert attending.block_size % PLAIN.block_size == 0
