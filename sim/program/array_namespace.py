"""Which library an array belongs to."""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType
from typing import Any


def namespace(array: Any) -> ModuleType:
    """The array API namespace of an array, found from the array itself, so that nothing is imported for it.

    It is the package that defines the array's class: PyTorch's tensors know no other, and NumPy's arrays name the same.
    Only what both spell alike may be called of it: ``asarray``, ``clip``, ``maximum``, ``round`` and ``where``.
    """
    return _package(type(array).__module__)


@cache
def _package(module: str) -> ModuleType:
    return sys.modules[module.partition(".")[0]]
