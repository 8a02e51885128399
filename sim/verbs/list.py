"""``overlapsim list``: what is shipped."""

from __future__ import annotations

import argparse

from sim.verbs import DONE
from sim.verbs.parsing import Verbs, add_verb, reader_may_leave

EXAMPLES = """\
examples:
  overlapsim list
  overlapsim list engines          their knobs side by side
  overlapsim list --json
"""


def add(verbs: Verbs) -> None:
    """Add the verb's options."""
    summary = "list the shipped scenarios, suites, models, profiles and engines"
    verb = add_verb(verbs, "list", summary, list_shipped, EXAMPLES)
    verb.add_argument(
        "what",
        nargs="?",
        choices=("engines",),
        help="engines: their knobs side by side, in place of everything's names",
    )
    verb.add_argument("--json", action="store_true", help="print one JSON object")


def list_shipped(arguments: argparse.Namespace) -> int:
    """Print what is shipped."""
    if arguments.what == "engines":
        return _list_engines(as_json=arguments.json)
    from scenarios import shelf

    scenarios, suites = shelf.list_scenarios(), shelf.list_suites()
    others = {"models": shelf.list_models(), "profiles": shelf.list_profiles(), "engines": shelf.list_engines()}
    if arguments.json:
        import json

        rows = [{"name": name, "kind": kind, "title": title} for name, kind, title in scenarios]
        shipped = {"scenarios": rows, "suites": [{"name": name, "title": title} for name, title in suites], **others}
        text = json.dumps(shipped, indent=2)
    else:
        width = max(len(name) for name, _, _ in scenarios)
        lines = ["scenarios"]
        lines += [f"  {name:{width}}  {kind:8}  {title}" for name, kind, title in scenarios]
        lines += ["suites", *(f"  {name:{width + 10}}  {title}" for name, title in suites)]
        lines += [f"{what}\n  {', '.join(names)}" for what, names in others.items()]
        text = "\n".join(lines)
    with reader_may_leave():
        print(text, flush=True)
    return DONE


def _list_engines(*, as_json: bool) -> int:
    """Print the knobs in which the shipped engines differ."""
    from sim.studies.engine_table import engine_rows, print_engines
    from sim.studies.table import Printer

    with reader_may_leave():
        if as_json:
            import json

            print(json.dumps({"engines": engine_rows()}, indent=2), flush=True)
        else:
            print_engines(Printer(140))
    return DONE
