"""Which engine a launch line starts, and what it says."""

import shlex

from scenarios.errors import Problem, ScenarioError
from scenarios.launch_lines.options import LINE
from scenarios.launch_lines.server import Server
from scenarios.launch_lines.sglang import read_sglang
from scenarios.launch_lines.vllm import read_vllm

EXPECTED = "expected 'vllm serve MODEL ...' or 'python -m sglang.launch_server --model-path MODEL ...'"


def read(line: str, memory: int) -> Server:
    """The server that a line launches on a device of so many bytes of memory.

    Environment variables before the command are skipped. Raises `ScenarioError` for a line that launches neither
    engine, that no shell could split, or whose options do not hold what they must.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ScenarioError([Problem(LINE, "", f"cannot be split into words: {error}")]) from None
    while words and "=" in words[0].lstrip("-") and not words[0].startswith("-"):
        words.pop(0)
    match words:
        case ["vllm", "serve", *options]:
            return read_vllm(options, memory)
        case [_, "-m", "vllm.entrypoints.openai.api_server", *options]:
            return read_vllm(options, memory)
        case [_, "-m", "sglang.launch_server", *options] | ["sglang", "serve", *options]:
            return read_sglang(options, memory)
    start = " ".join(words[:3])
    raise ScenarioError([Problem(LINE, "", f"found {start!r}, {EXPECTED}")])
