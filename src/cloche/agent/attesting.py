"""The agent's side of attest: gives a process of its own the model, and sees that what it read held still."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

import msgspec

from cloche.agent.change import Changer
from cloche.agent.messages import Refusal
from cloche.agent.parts import Parts
from cloche.agent.pipe import AsyncPipe, EndedError
from cloche.agent.refusals import AgentError, as_error
from cloche.agent.statement import Attested, Judge, Read, Snapshot
from cloche.agent.system import host_name

TRIES = 50
"""How often the maps are read at most, until nothing is written meanwhile."""


async def attest(parts: Parts, changer: Changer) -> Attested:
    """Whether the kernel enforces exactly the active generation. Changes go on meanwhile.

    Raises ClocheError when there is no active generation, or it changes too fast to be read.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cloche.agent.attest",
            str(theirs.fileno()),
            pass_fds=[theirs.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
        )
    pipe = await AsyncPipe.open(ours)
    try:
        return await _converse(pipe, parts, changer)
    except EndedError:
        raise AgentError("the process that attests ended") from None
    finally:
        pipe.close()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _converse(pipe: AsyncPipe, parts: Parts, changer: Changer) -> Attested:
    for attempt in range(1, TRIES + 1):
        async with changer.turn:
            turns, snapshot = changer.active.turns, _snapshot(parts, changer)
        await pipe.send(snapshot)
        answer = await pipe.receive()
        if isinstance(answer, Read) and turns == changer.active.turns:
            await pipe.send(Judge())
            answer = await pipe.receive()
        if isinstance(answer, Attested):
            return msgspec.structs.replace(answer, tries=attempt)
        if isinstance(answer, Refusal):
            raise as_error(answer)
    raise AgentError(f"what is enforced changed each of the {TRIES} times that it was read")


def _snapshot(parts: Parts, changer: Changer) -> Snapshot:
    active = changer.active
    host = active.directory.state.hosts.get(host_name())
    if host is None:
        raise AgentError("no generation of this agent's is active yet")
    return Snapshot(parts.config, host, changer.keeper.wanted, changer.attachments.all(), active.generation)
