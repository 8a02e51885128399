"""Which products are measured for programs: no torch is needed to say so."""

from __future__ import annotations

from collections.abc import Iterator

MIB = 1 << 20
COLD = 128
"""MiB after which nothing is found again."""
SQUARES = (64, 128, 256, 512, 768, 1024, 1280, 1792, 2048, 2304, 2816, 3328, 3584, 3840)
THIN = (
    (32, 512, 512), (32, 2048, 2048), (32, 3072, 3072), (32, 6144, 6144), (32, 4096, 1024), (32, 1024, 4096),
    (16, 2048, 2048), (64, 2048, 2048), (256, 2048, 2048), (256, 3072, 3072),
)  # fmt: skip
"""[m, k] by [k, n] as m, n, k; none of the sizes is one of the suite ``chapter`` that a program is held against."""
TILED = tuple(range(128, 4097, 128))
"""Square products whose kernels are only looked up."""
REUSED = ((32, 2048, 2048), (32, 1024, 4096), (32, 3072, 1024), (32, 3072, 3072))
ALONE = (3584, 3840, 4352, 4608, 5120)
"""Of 32 rows, [k, k]: weights of 25 to 50 MiB, used over and over."""
FOOTPRINTS = (16, 24, 28, 32, 36, 40, 44, 48, 56, 64)
"""MiB between two uses of the same weights."""


def products_and_sets() -> Iterator[tuple[int, int, int, int]]:
    """Each [m, k] by [k, n] as m, n, k, and how many sets of weights take turns."""
    yield from ((n, n, n, 1) for n in SQUARES)
    for m, n, k in THIN:
        yield from ((m, n, k, sets) for sets in (1, _turns(n, k, COLD)))
    for m, n, k in REUSED:
        numbers = dict.fromkeys(_turns(n, k, footprint) for footprint in FOOTPRINTS)
        yield from ((m, n, k, sets) for sets in numbers if sets > 1)
    for k in ALONE:
        yield from ((32, k, k, sets) for sets in (1, _turns(k, k, COLD)))


def looked_up() -> list[tuple[int, int, int]]:
    """The products whose kernels are looked up, each once."""
    return list(dict.fromkeys([(n, n, n) for n in (*SQUARES, *TILED)] + list(THIN)))


def _turns(n: int, k: int, mib: int) -> int:
    return max(1, round(mib * MIB / (2 * n * k)))
