"""A server's books kept anew: naively, row by row, and apart from the server's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from sim.serving.batch import Batch, Outputs, Phase, StepResult
from sim.serving.policies import Plan
from sim.serving.request import Reason, Request

Complaint = tuple[str, str]
"""An invariant's name, and the sentence that says how it was broken."""


class Where(Enum):
    """What a request is doing, as far as is scheduled."""

    WAITING = "waits"
    PROMPT = "has its prompt computed"
    DECODING = "decodes"
    LEFT = "has left the batch"


@dataclass(eq=False, slots=True)
class Account:
    """One request: ``done`` of ``prompt`` tokens are scheduled, ``produced`` tokens sampled, ``delivered`` received."""

    request: Request
    prompt: int
    where: Where = Where.WAITING
    done: int = 0
    produced: int = 0
    delivered: int = 0
    joined: bool = False
    ended: Reason | None = None
    cancelled: bool = False
    began: int = 0
    """Tokens of its prompt, and those it had received, when it was last admitted."""

    @property
    def over(self) -> bool:
        """Whether it gets no other token."""
        return self.ended is not None or self.cancelled

    @property
    def attended(self) -> int:
        """Tokens that the next decode row reads, its own included."""
        return self.request.context + self.produced + self.request.computed


class Ledger:
    """What a server should have done, from its arrivals, batches and results alone.

    ``scheduled`` and ``processed`` yield a complaint for everything in a batch, or in its outputs, that the books do
    not bear out, and then take over what they can, so that one mistake is not told as many.
    """

    def __init__(self, *, foresee_length: bool) -> None:
        self._foresee_length = foresee_length
        self.accounts: dict[int, Account] = {}
        self.in_flight: list[Batch] = []
        self.told: set[int] = set()
        """Requests that a batch has told the admission of, and that hold what they then got."""
        self._order: list[int] = []  # as they were admitted
        self._joined: list[int] = []  # as they began to decode
        self._members: dict[int, tuple[int, ...]] = {}
        self._next = 0
        self._counter = 0

    def arrived(self, requests: tuple[Request, ...]) -> None:
        """Open accounts."""
        for request in requests:
            self.accounts[request.id] = Account(request, 0 if request.computed else request.context)

    @property
    def holding(self) -> list[Account]:
        """Requests that must hold KV blocks: admitted, and not processed to their last row."""
        return [
            a for a in self.accounts.values()
            if a.where in (Where.PROMPT, Where.DECODING) or self.computing(a.request.id)
        ]  # fmt: skip

    def computing(self, number: int) -> bool:
        """Whether a step in flight has a row of this request."""
        return any(number in self._members[batch.index] for batch in self.in_flight)

    @property
    def running(self) -> list[int]:
        """Those that the next decode batch has rows of, in the order in which they joined."""
        accounts = self.accounts
        return [n for n in self._joined if accounts[n].where is Where.DECODING and not accounts[n].over]

    def scheduled(self, batch: Batch, plan: Plan) -> Iterator[Complaint]:
        """A batch has been built from a policy's plan."""
        if batch.index != self._next:
            yield "steps-in-order", f"step {batch.index} was scheduled where step {self._next} was due"
        self._next = batch.index + 1
        yield from self._preempted(batch)
        yield from self._admitted(batch)
        yield from self._decoded(batch, decode=plan.decode)
        finishing = [self.accounts[r.id] for r in batch.members[: batch.decode_rows] if r.id in self.accounts]
        finishing = [a for a in finishing if a.produced == a.request.max_tokens]
        for account in finishing:
            if self._foresee_length:
                account.where = Where.LEFT
        yield from self._prompts(batch, finishing)
        chosen = [(request.id, tokens) for request, tokens in plan.prompts]
        if [(chunk.request.id, chunk.tokens) for chunk in batch.prompts] != chosen:
            yield "prompts-in-order", f"step {batch.index} computes other prompts than {chosen}, which were chosen"
        yield from self._counted(batch, finishing)
        self.in_flight.append(batch)
        self._members[batch.index] = tuple(r.id for r in batch.members)

    def _preempted(self, batch: Batch) -> Iterator[Complaint]:
        lost = [r.id for r in batch.preempted]
        self._order = [n for n in self._order if n in self.told]
        if lost and lost != self._order[-len(lost) :]:
            yield "preemption", f"requests {lost} were preempted, those admitted last are {self._order[-len(lost) :]}"
        if lost and self.in_flight:
            yield "preemption", f"requests {lost} were preempted while steps are in flight that may end others"
        self.told -= set(lost)
        self._joined = [n for n in self.running if n not in lost]
        for request in batch.preempted:
            account = self.accounts[request.id]
            if account.where not in (Where.PROMPT, Where.DECODING):
                yield "preemption", f"request {request.id} was preempted, though it {account.where.value}"
            if self.computing(request.id):
                yield "preemption", f"request {request.id} was preempted while a step in flight computes it"
            account.where, account.done, account.joined = Where.WAITING, 0, False
            account.prompt = request.context + account.delivered + request.computed
            account.produced = account.delivered

    def _admitted(self, batch: Batch) -> Iterator[Complaint]:
        for request in batch.admitted:
            account = self.accounts.get(request.id)
            if account is None or account.where is not Where.WAITING or account.over:
                yield "tokens-once", f"request {request.id} was admitted, though it does not wait"
                continue
            if batch.preempted and not request.computed:
                yield "preemption", f"request {request.id} was admitted to blocks that others had to give back"
            account.where = Where.PROMPT if account.prompt else Where.DECODING
            account.began = account.prompt or request.context
            self._joined += [] if account.prompt else [request.id]
            self._order.append(request.id)
            self.told.add(request.id)

    def _decoded(self, batch: Batch, *, decode: bool) -> Iterator[Complaint]:
        rows = [r.id for r in batch.members[: batch.decode_rows]]
        due = self.running if decode else []
        if rows != due:
            yield "tokens-once", f"step {batch.index} decodes requests {rows}, those that are to are {due}"
        known = [self.accounts[number] for number in rows if number in self.accounts]
        context = sum(a.attended for a in known)
        if batch.decode_context != context:
            yield "rows-add-up", f"step {batch.index} attends to {batch.decode_context} tokens, its rows to {context}"
        new = [a.request.id for a in known if not a.joined]
        told = [r.id for r in batch.joined]
        if told != new:
            yield "rows-add-up", f"step {batch.index} says that {told} joined, those that did are {new}"
        for account in known:
            account.joined = True
            account.produced += 1

    def _prompts(self, batch: Batch, finishing: list[Account]) -> Iterator[Complaint]:
        for chunk in batch.prompts:
            account = self.accounts.get(chunk.request.id)
            if account is None or account.where is not Where.PROMPT:
                yield "tokens-once", f"step {batch.index} computes a prompt of request {chunk.request.id} out of turn"
                continue
            start = max(account.done, chunk.start if batch.cached and not account.done else 0)
            if chunk.start != start or not 1 <= chunk.tokens <= account.prompt - start:
                piece = f"{chunk.tokens} tokens of request {chunk.request.id} from {chunk.start} on"
                yield "prompts-in-order", f"step {batch.index} computes {piece}, of {account.prompt} it has {start}"
            account.done = chunk.stop
            ends = account.done >= account.prompt
            if chunk.output != (account.produced + 1 if ends else 0):
                piece = f"token {chunk.output} of request {chunk.request.id}"
                yield "prompts-in-order", f"step {batch.index} says that {piece} comes of its prompt"
            if ends:
                account.produced += 1
                last = account.produced == account.request.max_tokens
                account.where = Where.LEFT if last else Where.DECODING
                self._joined += [] if last else [account.request.id]
                finishing += [account] if last else []

    def _counted(self, batch: Batch, finishing: list[Account]) -> Iterator[Complaint]:
        prompts = len(batch.prompts)
        phase = Phase.DECODE if not prompts else Phase.PREFILL if batch.rows == prompts else Phase.MIXED
        tokens = batch.decode_rows + sum(chunk.tokens for chunk in batch.prompts)
        if (batch.phase, batch.rows, batch.tokens) != (phase, len(batch.members), tokens):
            says = f"{batch.rows} rows and {batch.tokens} tokens of {batch.phase.value}"
            are = f"{len(batch.members)} rows and {tokens} tokens of {phase.value}"
            yield "rows-add-up", f"step {batch.index} says {says}, its members are {are}"
        told, ends = sorted(r.id for r in batch.finishing), sorted(a.request.id for a in finishing)
        if told != ends:
            yield "tokens-once", f"step {batch.index} says that {told} reach their length, those that do are {ends}"
        self._counter += batch.decode_rows > 0
        if batch.counter != (self._counter if batch.decode_rows else 0):
            yield "steps-in-order", f"step {batch.index} has decode counter {batch.counter}, {self._counter} was due"

    def processed(self, batch: Batch, result: StepResult, outputs: Outputs) -> Iterator[Complaint]:
        """A result has been digested."""
        if not self.in_flight or self.in_flight[0] is not batch:
            yield "steps-in-order", f"step {batch.index} was processed before an older one"
            return
        self.in_flight.pop(0)
        partial = {c.request.id for c in batch.prompts if not c.output}
        rows = [self.accounts[r.id] for r in batch.members if r.id not in partial]
        late = sorted(a.request.id for a in rows if a.over)
        received = [a for a in rows if not a.over]
        first, finished = [], []
        for account in received:
            account.delivered += 1
            first += [account.request.id] if account.delivered == 1 else []
            if account.request.id in result.stopped:
                account.ended = Reason.STOP
            elif account.delivered == account.request.max_tokens:
                account.ended = Reason.LENGTH
            if account.ended:
                account.where = Where.LEFT
                finished.append((account.request.id, account.delivered, account.ended.value))
        if outputs.tokens != len(received):
            yield "tokens-once", f"step {batch.index} delivered {outputs.tokens} tokens, {len(received)} were due"
        if (sorted(batch.late), outputs.late) != (late, len(late)):
            yield "late-rows", f"step {batch.index} says that rows {sorted(batch.late)} were late, {late} were"
        told = sorted(r.id for r in outputs.first)
        if told != sorted(first):
            yield "tokens-once", f"step {batch.index} gave a first token to {told}, not to {sorted(first)}"
        ended = sorted((r.id, tokens, reason.value) for r, tokens, reason in outputs.finished)
        if ended != sorted(finished):
            yield "tokens-once", f"step {batch.index} ended {ended}, those that ended are {sorted(finished)}"
        members = self._members.pop(batch.index)
        done = sorted({n for n in members if self.accounts[n].over and not self.computing(n)})
        self.told -= set(done)
        if sorted(outputs.freed) != done:
            yield "kv-freed-once", f"step {batch.index} freed {sorted(outputs.freed)}, the last rows were of {done}"

    def cancelled(self, number: int) -> None:
        """A client has gone: from now on its rows are late, and its last one in flight takes its blocks along."""
        account = self.accounts.get(number)
        if account is None or account.over:
            return
        account.cancelled, account.where = True, Where.LEFT
        if not self.computing(number):
            self.told.discard(number)
