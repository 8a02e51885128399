"""A server as the text of a scenario file."""

import json
import shlex
from pathlib import Path
from typing import Any

from scenarios.errors import Problem, Refusal, ScenarioError
from scenarios.hugging_face import from_hugging_face
from scenarios.launch_lines.options import LINE
from scenarios.launch_lines.server import Server
from scenarios.shelf import MODELS

WORKLOAD = """\
# A launch line does not say which requests come: put yours here.
[workload]
batch = 16
context = 1024
output_tokens = 64
"""
SHARED_OUT = """\
# A launch line does not say which requests come: put yours here. Requests of a closed batch could not be shared out.
[workload]
rate = "10/s"
requests = 40
context = 1024
output_tokens = 64
"""
SIMULATED = "several GPUs are simulated and not validated; ranks take the reference machine, which is the slow one"


def as_scenario(line: str, server: Server, profile: str) -> str:
    """The scenario file: each setting with the option or default that it comes from.

    Raises `ScenarioError` for a model that is neither shipped nor a config.json.
    """
    model = _model(server.model)
    what = {"serial-eager": "without graphs or overlap"}.get(server.mode, f"in {server.mode}")
    (ranks, ranks_why), (replicas, replicas_why) = server.ranks, server.replicas
    notes = [*server.notes, *([SIMULATED] if ranks * replicas > 1 else [])]
    gpus = ["[tensor_parallel]", f"ranks = {ranks}  # {ranks_why}", ""] if ranks > 1 else []
    if replicas > 1:
        gpus += ["[replicas]", f"count = {replicas}  # {replicas_why}", f"router = {_value(server.router)}", ""]
    lines = [
        f"# {shlex.join(shlex.split(line))}",
        f"# This server runs {what}. The modes below are what it gains, or would, from graphs, overlap and both.",
        *(f"# {note}" for note in notes),
        'kind = "serving"',
        f"title = {_value(f'{server.preset} serving {Path(server.model).name}')}",
        f"model = {_value(model)}",
        "",
        WORKLOAD if replicas == 1 else SHARED_OUT,
        "[engine]",
        f"preset = {_value(server.preset)}",
        *(f"{setting.key} = {_value(setting.value)}  # {setting.why}" for setting in server.settings),
        "",
        *gpus,
        "[hardware]",
        f"profile = {_value(profile)}",
    ]
    return "\n".join(lines) + "\n"


def _model(word: str) -> str | dict[str, Any]:
    """A shipped model by its name or its weights' name, or the shape in a config.json."""
    if Path(word).exists():
        return from_hugging_face(word).model_dump(mode="json", exclude_defaults=True)
    name = word.rsplit("/", 1)[-1].lower().removeprefix("meta-")
    shipped = [known for known in MODELS.names() if name == known or name.startswith(f"{known}-")]
    if shipped:
        return shipped[0]
    expected = f"{MODELS.expected(word).removesuffix(' or a path to a .toml file')} or a path to its config.json"
    raise ScenarioError([Problem(LINE, "model", Refusal(word, expected).message)])


def _value(value: Any) -> str:
    """A value as TOML, which these kinds write as JSON does but for tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)
