"""The decode attention kernel against plain torch on a GPU."""

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
EVEN = [128] * 4
UNEVEN = [1, 15, 16, 17, 63, 64, 65, 300, 1000]
"""Lengths on both sides of a page's end and of a block's of 64."""


def attention(heads: int, kv_heads: int, dim: int, lengths: list[int], page: int, splits: int) -> tuple[Any, Any]:
    """The kernel's result and the reference's, over pages in random order with NaN wherever no token is."""
    from gpu.kernels.decode_attention import bind_decode_attention, reference_attention

    torch.manual_seed(0)
    device, rows, pages = "cuda", len(lengths), -(-max(lengths) // page)
    q = torch.randn(rows, heads, dim, device=device, dtype=torch.bfloat16)
    table = torch.randperm(rows * pages, device=device).to(torch.int32).view(rows, pages)
    k, v = torch.full((2, rows * pages * page, kv_heads, dim), torch.nan, device=device, dtype=torch.bfloat16)
    for row, length in enumerate(lengths):
        at = torch.arange(length, device=device)
        slots = table[row, at // page].long() * page + at % page
        for cache in (k, v):
            cache[slots] = torch.randn(length, kv_heads, dim, device=device, dtype=torch.bfloat16)
    live = torch.tensor(lengths, device=device, dtype=torch.int32)
    partial = torch.full((rows * heads, splits, dim), torch.nan, device=device)
    stats = torch.full((rows * heads, splits, 2), torch.nan, device=device)
    out = torch.full_like(q, torch.nan)
    stream = torch.cuda.current_stream().cuda_stream
    for launch in bind_decode_attention(stream, q, k, v, table, live, partial, stats, out, page):
        launch()
    return out, reference_attention(q, k, v, table, live, page)


@pytest.mark.cuda
@cuda
@pytest.mark.parametrize("splits", [1, 3, 32], ids="splits={}".format)
@pytest.mark.parametrize(("lengths", "page"), [(EVEN, 16), (UNEVEN, 16), (UNEVEN, 1), (UNEVEN, 256)])
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(8, 8, 64), (32, 8, 128), (14, 2, 64), (7, 1, 128)])
def test_every_head_of_every_row_is_within_a_hundredth_of_the_reference(
    heads: int, kv_heads: int, dim: int, lengths: list[int], page: int, splits: int
) -> None:
    got, want = attention(heads, kv_heads, dim, lengths, page, splits)
    assert not got.isnan().any()
    errors = (got.float() - want).norm(dim=-1) / want.norm(dim=-1)
    assert errors.shape == (len(lengths), heads)
    assert errors.max() < 1e-2
