"""What a check-up of a GPU cannot do without."""

from __future__ import annotations

from importlib.util import find_spec

from scenarios.errors import Problem, ScenarioError


def require_gpu() -> str:
    """The name of the GPU; raises ``ScenarioError`` where torch or a GPU is missing."""
    if find_spec("torch") is None:
        raise ScenarioError([Problem("--on", "", "found no torch, expected the extra 'gpu' to be installed")])
    import torch  # noqa: PLC0415  only once it is known to be there

    if not torch.cuda.is_available():
        raise ScenarioError([Problem("--on", "", "found no GPU that torch can use, expected an NVIDIA GPU for 'cuda'")])
    return str(torch.cuda.get_device_name())
