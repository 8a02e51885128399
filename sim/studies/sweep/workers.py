"""Where the points of a sweep are evaluated: in this process, on its machine's cores, on a Dask or a Ray cluster.

A cluster evaluates what a worker that dies was at again, three times at most; processes of this machine are not
replaced. Every machine of a cluster needs the same overlapsim and, for a scenario that is a file, the same path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Self

from scenarios.errors import Problem, ScenarioError

Call = Callable[[Any], Any]
PATIENCE = 10
"""Seconds within which a scheduler answers."""


class Workers(ABC):
    """Several processes, asked by the option ``asked_by``; closed by leaving the context."""

    asked_by = ""

    def __init__(self, count: int = 1) -> None:
        """``count`` chunks are evaluated at the same time."""
        self.count = count
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        """Keep the connection."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give it up; a cluster stays."""
        self._closing.close()

    @abstractmethod
    def results(self, call: Call, chunks: Sequence[Any]) -> Iterator[Any]:
        """What ``call`` says of each chunk, as the answers come.

        Raises ScenarioError if workers die for good: what came before stands.
        """

    def _died(self, error: Exception) -> ScenarioError:
        told = " ".join(str(error).split())
        return ScenarioError([Problem(self.asked_by, "", f"workers died, out of memory perhaps: {told}")])


class ThisProcess(Workers):
    """No worker but the one that asks."""

    def results(self, call: Call, chunks: Sequence[Any]) -> Iterator[Any]:
        """One after another."""
        return map(call, chunks)


class Cores(Workers):
    """Processes of this machine, by joblib; -1: one a core."""

    asked_by = "--jobs"

    def __init__(self, jobs: int) -> None:
        """Nothing is started before the first chunk."""
        from joblib import effective_n_jobs

        super().__init__(effective_n_jobs(jobs))

    def results(self, call: Call, chunks: Sequence[Any]) -> Iterator[Any]:
        """By whichever process is free."""
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        try:
            yield from Parallel(n_jobs=self.count, return_as="generator_unordered")(map(delayed(call), chunks))
        except TerminatedWorkerError as error:
            raise self._died(error) from error


class Dask(Workers):
    """The workers of a Dask scheduler, reached by its address."""

    asked_by = "--dask"

    def __init__(self, address: str) -> None:
        """Connect; raises ScenarioError where no scheduler answers."""
        from distributed import Client

        try:
            self._client: Any = Client(address, timeout=f"{PATIENCE}s")  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            message = f"found {address!r}, where no Dask scheduler answers within {PATIENCE} s"
            raise ScenarioError([Problem(self.asked_by, "", message)]) from error
        super().__init__(max(sum(self._client.ncores().values()), 1))  # type: ignore[no-untyped-call]
        self._closing.callback(self._client.close)

    def results(self, call: Call, chunks: Sequence[Any]) -> Iterator[Any]:
        """By whichever worker the scheduler chooses."""
        from distributed import KilledWorker, as_completed

        asked = self._client.map(call, chunks, pure=False)
        try:
            for answer in as_completed(asked):  # type: ignore[no-untyped-call]
                yield answer.result()
        except KilledWorker as error:
            raise self._died(error) from error


class Ray(Workers):
    """The workers of the Ray cluster that this machine belongs to, or that RAY_ADDRESS names."""

    asked_by = "--ray"

    def __init__(self) -> None:
        """Connect, unless this process is connected; raises ScenarioError where there is no cluster."""
        import ray

        ours = not ray.is_initialized()
        if ours:
            try:
                ray.init(address="auto", log_to_driver=False, configure_logging=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                message = "found no Ray cluster, expected this machine to belong to one ('ray start --head' begins one)"
                raise ScenarioError([Problem(self.asked_by, "", message)]) from error
        super().__init__(max(int(ray.cluster_resources().get("CPU", 1)), 1))
        if ours:
            self._closing.callback(ray.shutdown)

    def results(self, call: Call, chunks: Sequence[Any]) -> Iterator[Any]:
        """By whichever worker is free."""
        import ray

        remote = ray.remote(num_cpus=1, max_retries=3)(_answer)
        waiting = [remote.remote(call, chunk) for chunk in chunks]
        try:
            while waiting:
                (done, *_), waiting = ray.wait(waiting, num_returns=1)
                yield ray.get(done)
        except ray.exceptions.WorkerCrashedError as error:
            raise self._died(error) from error


def _answer(call: Call, chunk: Any) -> Any:
    """A plain function, which is what Ray takes."""
    return call(chunk)
