"""Mutants by operators over the syntax tree."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness import source_of

MODULES = (
    "sim.serving.scheduler", "sim.serving.decoding", "sim.serving.row", "sim.serving.kv_cache",
    "sim.serving.prefix_cache", "sim.serving.future_map", "sim.serving.server", "sim.serving.buckets",
    "sim.serving.waiting", "sim.serving.policies", "sim.loops", "sim.machine.stream", "sim.machine.graph_run",
    "sim.machine.host", "sim.machine.gil", "sim.machine.device", "sim.machine.events", "sim.machine.sharing",
)  # fmt: skip
COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
}  # fmt: skip
CALLED = {"max": "min", "min": "max", "append": "pop", "popleft": "pop", "any": "all", "all": "any"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """The change numbered ``change`` of the node numbered ``node`` of a module, what it does and in which line."""

    module: str
    line: int
    what: str
    node: int
    change: int

    @property
    def name(self) -> str:
        """Such as ``sim.serving.scheduler:120 < becomes <=``."""
        return f"{self.module}:{self.line} {self.what}"

    @property
    def code(self) -> str:
        """The line that it is in."""
        return source_of(self.module).splitlines()[self.line - 1].strip()

    @property
    def source(self) -> str:
        """The module with the change in it."""
        tree = ast.parse(source_of(self.module))
        target = list(_places(tree))[self.node]
        _, change = list(_changes(target))[self.change]
        change(target)
        return ast.unparse(ast.fix_missing_locations(tree))


def mutants(modules: tuple[str, ...] = MODULES) -> Iterator[Mutant]:
    """Every mutant of the modules.

    Left out is what no run can notice: docstrings, annotations, assertions, messages, and guards that only raise on
    arguments which a correct caller never passes.
    """
    for module in modules:
        for number, node in enumerate(_places(ast.parse(source_of(module)))):
            for position, (what, _) in enumerate(_changes(node)):
                yield Mutant(module, getattr(node, "lineno", 0), what, number, position)


def sample(count: int, seed: int = 0) -> list[Mutant]:
    """So many of them, each module in proportion."""
    found = list(mutants())
    chosen = random.Random(seed).sample(range(len(found)), min(count, len(found)))
    return [found[i] for i in sorted(chosen)]


def _places(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that a run can notice a change of, in order."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Assert | ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr):
            continue
        if isinstance(child, ast.If) and (_guard(child) or ast.unparse(child.test) == "TYPE_CHECKING"):
            continue
        if isinstance(child, ast.arguments | ast.arg):
            continue
        if isinstance(child, ast.AnnAssign):
            if child.value is not None:
                yield from _within(child.value)
            continue
        if isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) == "__slots__":
            continue
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in child.body:
                if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                    yield from _within(statement)
            continue
        yield from _within(child)


def _within(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is in it, unless it is skipped."""
    if not _skip(node):
        yield node
        yield from _places(node)


def _skip(node: ast.AST) -> bool:
    return isinstance(node, ast.Assert | ast.Raise) or (isinstance(node, ast.If) and _guard(node))


def _guard(node: ast.If) -> bool:
    return not node.orelse and all(isinstance(statement, ast.Raise) for statement in node.body)


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.AST], None]]]:
    """What can be done to a node, in words and as a change of a copy of it."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARED:
            other = COMPARED[type(op)]
            yield f"{_symbol(op)} becomes {_symbol(other())} in {_short(node)}", lambda n: setattr(n, "ops", [other()])
        case ast.BinOp(op=operator) if type(operator) in COMPUTED and not isinstance(
            node.left, ast.Constant | ast.JoinedStr
        ):
            swapped = COMPUTED[type(operator)]
            yield (
                f"{_symbol(operator)} becomes {_symbol(swapped())} in {_short(node)}",
                lambda n: setattr(n, "op", swapped()),
            )
        case ast.AugAssign(op=ast.Add() | ast.Sub() as operator):
            flipped = COMPUTED[type(operator)]
            yield (
                f"{_symbol(operator)}= becomes {_symbol(flipped())}= in {_short(node)}",
                lambda n: setattr(n, "op", flipped()),
            )
        case ast.BoolOp(op=operator):
            joined = ast.Or if isinstance(operator, ast.And) else ast.And
            yield f"and/or swapped in {_short(node)}", lambda n: setattr(n, "op", joined())
        case ast.UnaryOp(op=ast.Not()):
            yield f"not dropped in {_short(node)}", _drop_not
        case ast.Constant(value=bool() as truth):
            yield f"{truth} becomes {not truth}", lambda n: setattr(n, "value", not truth)
        case ast.Constant(value=int() as number):
            yield f"{number} becomes {number + 1}", lambda n: setattr(n, "value", number + 1)
        case ast.Call(func=ast.Name(id=name)) if name in CALLED:
            yield f"{name} becomes {CALLED[name]} in {_short(node)}", lambda n: setattr(n.func, "id", CALLED[name])  # type: ignore[attr-defined]
        case ast.If():
            yield f"always {_short(node.test)}", lambda n: setattr(n, "test", ast.Constant(value=True))
            yield f"never {_short(node.test)}", lambda n: setattr(n, "test", ast.Constant(value=False))
        case ast.Expr(value=ast.Call()):
            yield f"left out: {_short(node)}", _leave_out
        case ast.Expr(value=ast.YieldFrom()):
            yield f"left out: {_short(node)}", _leave_out
        case _:
            return
    if isinstance(node, ast.AugAssign):
        yield f"left out: {_short(node)}", _leave_out


def _drop_not(node: ast.AST) -> None:
    assert isinstance(node, ast.UnaryOp)
    node.op = ast.UAdd()
    node.operand = ast.Call(ast.Name("bool", ast.Load()), [node.operand], [])


def _leave_out(node: ast.AST) -> None:
    node.__class__ = ast.Pass


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else text[:57] + "..."


def _symbol(op: ast.AST) -> str:
    names = {
        "Lt": "<", "LtE": "<=", "Gt": ">", "GtE": ">=", "Eq": "==", "NotEq": "!=", "In": "in", "NotIn": "not in",
        "Is": "is", "IsNot": "is not", "Add": "+", "Sub": "-", "Mult": "*", "FloorDiv": "//",
    }  # fmt: skip
    return names[type(op).__name__]
