"""Runs attacks on, or tests of, a project in which one module has other source, in a process of its own."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
ROUND = 20
"""Examples of one attack before the next has its turn."""
PATIENCE = 10.0
"""Seconds of a processor after which a run, of milliseconds as a rule, counts as one that never ends."""
PATIENCE_OF_TESTS = 300.0
"""Seconds of a processor after which tests, of a minute as a rule, count as failed."""
MEMORY = 3 << 30
"""Bytes that a mutant may take beyond what its process has, for the same reason."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which invariant a mutant broke, after how many examples of which attack, None for one that survived."""

    invariant: str | None
    attack: str = ""
    examples: int = 0
    sentence: str = ""


class Substitute(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, and gives it other source."""

    def __init__(self, name: str, source: str) -> None:
        self._name = name
        self._source = source

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        del path, target
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, f"<mutant of {self._name}>", "exec"), module.__dict__)  # noqa: S102


def source_of(module: str) -> str:
    """The source of a module of ours."""
    return (ROOT / (module.replace(".", "/") + ".py")).read_text()


def attempt(module: str, source: str, attacks: Sequence[str], examples: int = 500) -> Verdict:
    """Attack the project with this source in place of a module's, each attack with so many examples at most."""
    return _apart(module, source, lambda: _attacked(attacks, examples))


def tested(module: str, source: str, paths: Sequence[str]) -> Verdict:
    """Run tests of the project with this source in place of a module's: ``attack`` is the first test that fails."""
    return _apart(module, source, lambda: _pytest(paths))


def _apart(module: str, source: str, judge: Callable[[], Verdict]) -> Verdict:
    read, write = os.pipe()
    with warnings.catch_warnings():  # Python warns of forks beside threads; the child needs none of ours
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        os.close(read)
        verdict = Verdict("no-exception", "import", 0, "the module cannot be imported")
        try:
            most = _address_space() + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            signal.signal(signal.SIGVTALRM, _never_ends)
            for name in [n for n in sys.modules if n == "sim" or n.startswith("sim.")]:
                del sys.modules[name]
            sys.meta_path.insert(0, Substitute(module, source))
            verdict = judge()
        except BaseException as error:  # noqa: BLE001  a mutant may do anything
            verdict = Verdict(
                "progress" if isinstance(error, TimeoutError) else "no-exception", "", 0, repr(error)[:200]
            )
        finally:
            os.write(write, json.dumps(asdict(verdict)).encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return Verdict(**json.loads(told)) if told else Verdict("no-exception", "", 0, "the process died")


def _address_space() -> int:
    """Bytes of this process's address space, which a library such as torch reserves by the dozen of GiB."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0


def _never_ends(_number: int, _frame: object) -> None:
    raise TimeoutError("a run that does not end")


def _pytest(paths: Sequence[str]) -> Verdict:
    import pytest

    failed: list[str] = []

    class First:
        """Remembers what fails."""

        def pytest_runtest_logreport(self, report: Any) -> None:
            failed.extend([report.nodeid] if report.failed else [])

        def pytest_collectreport(self, report: Any) -> None:
            failed.extend([report.nodeid] if report.failed else [])

    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE_OF_TESTS)
    os.chdir(ROOT)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):  # noqa: PTH123
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *paths], plugins=[First()])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and not failed:
        failed = [f"pytest {pytest.ExitCode(code).name}"]
    return Verdict("test", failed[0]) if failed else Verdict(None)


def _attacked(attacks: Sequence[str], examples: int) -> Verdict:
    from sim.check.invariant import BrokenError

    known = dict(_attacks())
    for turn in range(max(1, examples // ROUND)):
        for name in attacks:
            tried, error = _server(turn) if name == "server" else _round(known[name], turn)
            if error is None:
                continue
            after = turn * ROUND + tried
            if isinstance(error, BrokenError):
                first = error.violations[0]
                return Verdict(first.invariant, name, after, first.sentence[:200])
            broken = "progress" if isinstance(error, TimeoutError) else "no-exception"
            return Verdict(broken, name, after, repr(error)[:200])
    return Verdict(None)


def _round(given_attack: Callable[[Any], Callable[[], None]], turn: int) -> tuple[int, BaseException | None]:
    """Some examples of one attack: how many until the first that breaks something, and what it raised."""
    import hypothesis
    from hypothesis import HealthCheck, Phase, settings

    from scenarios.errors import ScenarioError

    tried = 0
    first: list[BaseException] = []

    def counted(attack: Callable[[], None]) -> None:
        nonlocal tried
        if first:
            return
        tried += 1
        signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
        try:
            attack()
        except ScenarioError:
            return  # knobs of a world that do not go together
        except Exception as error:  # noqa: BLE001  a mutant may raise anything
            first.append(error)

    test = given_attack(counted)
    quiet = settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    hypothesis.seed(turn)(quiet(test))()
    return tried, first[0] if first else None


def _server(turn: int) -> tuple[int, BaseException | None]:
    """Some runs of the stateful machine; which of them broke something is not counted."""
    import hypothesis
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis.stateful import run_state_machine_as_test

    from sim.check.strategies.servers import AnyServer

    quiet = settings(
        max_examples=ROUND, deadline=None, database=None, phases=(Phase.generate,), stateful_step_count=30,
        suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    signal.setitimer(signal.ITIMER_VIRTUAL, ROUND * PATIENCE)
    try:
        with redirect_stdout(StringIO()):
            run_state_machine_as_test(hypothesis.seed(turn)(AnyServer), settings=quiet)  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001  a mutant may raise anything
        return ROUND, error
    return ROUND, None


def _attacks() -> Iterator[tuple[str, Callable[[Any], Callable[[], None]]]]:
    """Each attack by name, as a test that hands every example's attack to whoever counts them."""
    from hypothesis import given

    from sim.check.attacks import attack_again, attack_machine, attack_world
    from sim.check.invariant import BrokenError
    from sim.check.strategies.programs import FRAMEWORK, constants, loop, programs
    from sim.check.strategies.teams import neighbours, teams
    from sim.check.strategies.worlds import worlds
    from sim.program.calls import HostCosts

    def serving(counted: Any) -> Callable[[], None]:
        @given(worlds())
        def test(world: Any) -> None:
            def attack() -> None:
                broken = attack_world(world)
                if broken is not None:
                    raise BrokenError(broken.violations)

            counted(attack)

        return test

    def again(counted: Any) -> Callable[[], None]:
        @given(worlds(longest=40))
        def test(world: Any) -> None:
            counted(lambda: attack_again(world))

        return test

    def machine(given_programs: Any) -> Callable[[Any], Callable[[], None]]:
        def attacked(counted: Any) -> Callable[[], None]:
            @given(given_programs, constants())
            def test(program: Any, machine_constants: Any) -> None:
                costs = HostCosts(machine_constants, FRAMEWORK)
                counted(lambda: attack_machine(lambda: {"host": loop(program)}, costs))

            return test

        return attacked

    def ranked(counted: Any) -> Callable[[], None]:
        @given(teams(), constants())
        def test(team: Any, machine_constants: Any) -> None:
            costs = HostCosts(machine_constants, FRAMEWORK)
            counted(lambda: attack_machine(lambda: {n: loop(p) for n, p in team.programs.items()}, costs, team.ranks))

        return test

    yield "worlds", serving
    yield "again", again
    yield "programs", machine(programs())
    yield "neighbours", machine(neighbours())
    yield "teams", ranked
