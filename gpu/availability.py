"""Whether what a backend needs is there, and one line that says what is missing."""

from __future__ import annotations

from importlib.util import find_spec

from scenarios.errors import Problem, ScenarioError


def require_torch(who: str) -> None:
    """Raise ``ScenarioError`` where torch is not installed."""
    if find_spec("torch") is None:
        message = "torch is not installed; it comes with the extra: pip install 'overlapsim[gpu]'"
        raise ScenarioError([Problem(who, "", message)])


def require_gpu(who: str) -> None:
    """Raise ``ScenarioError`` where there is no torch or no NVIDIA GPU that it can use."""
    require_torch(who)
    import torch  # noqa: PLC0415  only once it is known to be there

    if not torch.cuda.is_available():
        why = "this torch was built without CUDA" if torch.version.cuda is None else "torch finds none with a driver"
        raise ScenarioError([Problem(who, "", f"no NVIDIA GPU, {why}")])


def gpu_name(who: str) -> str:
    """What the GPU that torch uses is called; raises ``ScenarioError`` where there is none."""
    require_gpu(who)
    import torch  # noqa: PLC0415  only once it is known to be there

    return str(torch.cuda.get_device_name())
