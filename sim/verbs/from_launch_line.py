"""``overlapsim from``: the scenario of a server, from the line that launches it."""

from __future__ import annotations

import argparse
from pathlib import Path

from sim.verbs import DONE
from sim.verbs.parsing import Verbs, add_verb, file_problems, reader_may_leave

EXAMPLES = """\
examples:
  overlapsim from "vllm serve Qwen/Qwen3-0.6B --max-num-seqs 256"
  overlapsim from "vllm serve ./my-model/config.json --max-num-batched-tokens 4096 --enforce-eager" --out mine.toml
  overlapsim from "python -m sglang.launch_server --model-path meta-llama/Llama-3.1-8B-Instruct --cuda-graph-max-bs 64"
  overlapsim from "vllm serve meta-llama/Llama-3.1-8B-Instruct --tensor-parallel-size 2"

Quote the whole line. Each setting of the file says from which option or default it comes; options that the simulator
does not model are listed in its head. The requests are yours to fill in.
"""


def add(verbs: Verbs) -> None:
    """Add the verb's options."""
    verb = add_verb(
        verbs, "from", "print the scenario of a server from its launch line (vLLM, SGLang)", print_scenario, EXAMPLES
    )
    verb.add_argument("line", help="the whole command, quoted")
    verb.add_argument("--profile", default="nvidia-h200", help="the machine it runs on (default nvidia-h200)")
    verb.add_argument("--out", type=Path, metavar="FILE", help="write the file rather than print it")


def print_scenario(arguments: argparse.Namespace) -> int:
    """Print or write the scenario file."""
    from scenarios.errors import ScenarioError
    from scenarios.launch_lines import as_scenario, read
    from scenarios.loader import load_profile
    from sim.timeline.chrome import replacing

    if problems := file_problems("--out", arguments.out, ".toml"):
        raise ScenarioError(problems)
    profile = load_profile(arguments.profile)
    text = as_scenario(arguments.line, read(arguments.line, profile.device.memory), arguments.profile)
    with reader_may_leave():
        if arguments.out is None:
            print(text, end="", flush=True)
        else:
            with replacing(arguments.out) as temporary:
                temporary.write_text(text, encoding="utf-8")
            print(f"wrote {arguments.out}", flush=True)
    return DONE
