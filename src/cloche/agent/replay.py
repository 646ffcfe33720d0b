"""Replay, as the agent does it: a generation is asked about before its flip, and further once it is active.

The worker chooses packets and asks the oracle, the kernel thread runs them on the second instance, in slices
that leave the loop and coming changes their turn. A difference before the flip refuses the generation: of it
nothing counts, and the next change writes over it under another number. One found later undoes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import structlog

from cloche.agent.comparing import Compared, Difference, Run, compare
from cloche.agent.disk import write_whole
from cloche.agent.errands import Rehearsal, Rehearse, Writes, unpacked
from cloche.agent.laps import Laps
from cloche.agent.messages import FlowEvent, ShownReplay
from cloche.agent.parts import Parts
from cloche.agent.refusals import AgentError
from cloche.agent.workshop import WorkerDiedError
from cloche.datapath.second import Second
from cloche.errors import ClocheError

ROUND_SECONDS = 0.007
"""The worker thinks no longer at a time, so that its cases are few enough for one step of the loop."""
SLICE_SECONDS = 0.005
PAUSE_SECONDS = 0.05
"""Between two slices after activation: a tenth of one processor at most."""
AT_ONCE = 256
KERNEL_SHARE = 0.3
"""Of the time before the flip: a case takes the kernel less than the oracle."""
LONGEST_PATIENCE = 64
REPORTS = 16
"""Reports kept; the oldest go."""
log = structlog.get_logger()


class DifferenceError(AgentError):
    """A generation is not what its policies say; it was not made active."""


class Replayer:
    """Asks about generations and says what it cost. ``go_back`` undoes the active one, and says how."""

    def __init__(self, parts: Parts, tell: Callable[[list[FlowEvent]], None] = lambda _: None) -> None:
        self._parts = parts
        self.tell = tell
        self._second: Second | None = None
        self._loading: asyncio.Task[Second] | None = None
        self._broken = False
        self._wake = asyncio.Event()
        self._asked = [0, 0]
        self._ms = [0.0, 0.0]
        self._generations = self._differences = 0
        self._waiting = False
        self._went_back_to = 0
        self._mending = False
        self.problem = ""
        self.patience = 1
        """How many times as long as usual to wait before mending again: a refusal that repeats costs less."""

    @property
    def on(self) -> bool:
        """False: nothing is replayed."""
        return self._parts.config.replay_ms > 0 and not self._broken

    def load(self) -> None:
        """Begin to load the second instance, on a thread of its own, as the verifier takes its time."""
        if self.on:
            self._loading = asyncio.create_task(asyncio.to_thread(self._parts.datapath.second))

    async def _loaded(self) -> bool:
        """Wait for it; False when it cannot be loaded, which is said, and then nothing is replayed."""
        if self._second is None and self._loading is not None:
            try:
                self._second = await asyncio.shield(self._loading)
            except (ClocheError, OSError) as error:
                self._broken = True
                self.problem = f"nothing is replayed: the second instance cannot be loaded: {error}"
                log.error("replay is off", error=str(error))
        return self._second is not None

    def shown(self) -> ShownReplay:
        """What it came to so far."""
        return ShownReplay(
            budget_ms=self._parts.config.replay_ms,
            generations=self._generations,
            asked_before=self._asked[0],
            asked_after=self._asked[1],
            ms_before=round(self._ms[0], 3),
            ms_after=round(self._ms[1], 3),
            differences=self._differences,
            waiting=self._waiting,
        )

    def first(self) -> Rehearse | None:
        """The first round of questions, for the worker to begin with as soon as it has compiled a change."""
        return Rehearse(*self._budget(0.0), active=False) if self.on else None

    async def write(self, writes: Sequence[Writes], laps: Laps, *, asked: bool = False) -> None:
        """Apply a change's writes, the flip and what follows it only if no packet says otherwise.

        The flip is written by the end of the lap ``replay``. ``asked``: the worker has the first round.

        Raises DifferenceError when one does, WorkerDiedError, and OSError or IndexError from the writes.
        """
        kernel, parts = self._parts.kernel, self._parts
        flip = next((n for n, part in enumerate(writes) if part.flip), len(writes))
        generation = next((part.flip for part in writes if part.flip), 0)
        if generation and await self._loaded():
            if not asked:
                await parts.workshop.send(Rehearse(*self._budget(0.0), active=False))
            await kernel.run(parts.write, unpacked(writes[:flip]))
            laps.lap("write")
            await self._before(generation)
            await kernel.run(parts.write, unpacked(writes[flip : flip + 1]))
            laps.lap("replay")
            await kernel.run(parts.write, unpacked(writes[flip + 1 :]))
            laps.lap("finish")
            self._passed(generation)
        elif writes:
            if generation and asked:
                await self._receive()
            await kernel.run(parts.write, unpacked(writes))
        self._waiting = self.on
        if self.on:
            self._wake.set()

    def _budget(self, spent_ms: float) -> tuple[float, int]:
        """Seconds and packets for the worker's next round."""
        left = (self._parts.config.replay_ms - spent_ms) / 1000 * (1 - KERNEL_SHARE)
        return max(0.0, min(left, ROUND_SECONDS)), AT_ONCE

    async def _before(self, generation: int) -> None:
        """Rounds of questions until the time is over. The first was sent while the writes went out."""
        limit, spent = self._parts.config.replay_ms, 0.0
        while True:
            rehearsal = await self._receive()
            left = max(limit - spent - rehearsal.ms, limit * KERNEL_SHARE / 2) / 1000
            compared = await self._compare(rehearsal, Run(generation, False, left))
            spent += rehearsal.ms + compared.ms
            self._count(0, rehearsal, compared)
            if compared.differences:
                await self._refuse(compared.differences[0])
            if rehearsal.done or spent >= limit * (1 - KERNEL_SHARE / 2):
                return
            await self._parts.workshop.send(Rehearse(*self._budget(spent), active=False))

    async def _receive(self) -> Rehearsal:
        answer = await self._parts.workshop.receive()
        if not isinstance(answer, Rehearsal):
            raise WorkerDiedError("the worker answered something else")
        return answer

    async def _compare(self, rehearsal: Rehearsal, run: Run) -> Compared:
        return await self._parts.kernel.run(self._run, rehearsal, run)

    def _run(self, rehearsal: Rehearsal, run: Run) -> Compared:
        """On the kernel thread."""
        assert self._second is not None
        return compare(self._second, rehearsal.cases, run)

    def _count(self, after: int, rehearsal: Rehearsal, compared: Compared) -> None:
        self._asked[after] += compared.asked
        self._ms[after] += rehearsal.ms + compared.ms
        self._differences += len(compared.differences)

    def _passed(self, generation: int) -> None:
        self._generations += 1
        self.patience = 1
        if not self._mending and generation != self._went_back_to:
            self.problem = ""
        self._mending = False

    async def _refuse(self, difference: Difference) -> None:
        """The flip is not written. The worker is let go, as it believes otherwise: the next one starts from
        what the kernel holds, and uses a number that no word written for this generation counts from."""
        await self._parts.workshop.stop()
        path = await self._report(difference)
        self._mending = True
        self.patience = min(self.patience * 2, LONGEST_PATIENCE)
        raise DifferenceError(f"{difference}; it was not made active; report: {path}")

    async def _report(self, difference: Difference) -> str:
        """Say it: in a file, in the log, as an event and as a problem. The file's path."""
        path = self._parts.config.state / f"replay-{difference.generation}.json"
        content = msgspec.json.format(msgspec.json.encode(difference), indent=2)
        try:
            await self._parts.kernel.run(self._keep, path, content)
            where = str(path)
        except OSError as error:
            where = f"not kept: {error}"
        log.error(
            "replay: the program and the oracle differ", report=where, **msgspec.to_builtins(difference)
        )
        self.problem = f"{difference}; report: {where}"
        self.tell([_event(difference)])
        return where

    def _keep(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, content)
        kept = sorted(path.parent.glob("replay-*.json"), key=lambda found: found.stat().st_mtime)
        for old in kept[:-REPORTS]:
            old.unlink(missing_ok=True)

    async def follow(self, turn: asyncio.Lock, go_back: Callable[[str], Awaitable[int]]) -> None:
        """Ask for ever what is left to ask of the active generation. ``turn``: held for each slice."""
        await self._loaded()
        while True:
            await self._wake.wait()
            self._wake.clear()
            difference = None
            try:
                async with turn:
                    difference = await self._slice()
            except (WorkerDiedError, OSError) as error:
                log.warning("replay was interrupted", error=str(error))
            if difference is not None:
                await self._undo(difference, go_back)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _slice(self) -> Difference | None:
        if not self._parts.workshop.alive:
            return None
        await self._parts.workshop.send(Rehearse(SLICE_SECONDS, AT_ONCE, active=True))
        rehearsal = await self._receive()
        compared = await self._compare(rehearsal, Run(0, True, SLICE_SECONDS * 4))
        self._count(1, rehearsal, compared)
        self._waiting = not rehearsal.done
        if self._waiting:
            self._wake.set()
        return compared.differences[0] if compared.differences else None

    async def _undo(self, difference: Difference, go_back: Callable[[str], Awaitable[int]]) -> None:
        """Report, and go back to the policies before; once only, as it may not be they that are wrong. Where
        the maps were altered from outside they are mended instead."""
        path = await self._report(difference)
        if difference.generation == self._went_back_to:
            log.error("replay: going back did not help; what is active stays", report=path)
            return
        self._mending = True
        try:
            went_back_to = await go_back(f"replay: {difference.explain}")
        except (ClocheError, OSError) as error:
            self.problem = f"{self.problem}; it could not be rolled back: {error}"
            log.error("replay: it could not be rolled back", error=str(error))
            return
        self._went_back_to = went_back_to
        mended = "the maps were altered from outside and are mended"
        how = f"rolled back by generation {went_back_to}" if went_back_to else mended
        self.problem = f"{self.problem}; {how}"


def _event(difference: Difference) -> FlowEvent:
    """What those who follow flows are told."""
    return FlowEvent(
        time=time.time(),
        kind="differs",
        source=difference.source if "/" in difference.source else "",
        source_address=difference.source_address,
        destination=difference.destination if "/" in difference.destination else "",
        destination_address=difference.destination_address,
        port=difference.port,
        verdict=difference.datapath.verdict,
        reason=difference.datapath.reason,
        generation=difference.generation,
    )
