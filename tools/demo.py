"""The demonstration: a shop comes up, its matrix is probed, a change cuts a connection, speed is measured.

Everything is done with the commands that are shown. ``--keep`` leaves the shop running. Ends with status 0
when every step came out as it must.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSTANCE = "demo"
TALK = """
import socket, sys, time
line = socket.create_connection((sys.argv[1], 80), timeout=5)
line.settimeout(1)
while True:
    line.sendall(b"still there?\\n")
    print(line.recv(4096).decode().strip() or "closed", flush=True)
    time.sleep(0.1)
"""
ANSWERS_BEFORE, ANSWER_SECONDS, SILENT_SECONDS = 5, 10.0, 3.0


class FailedError(Exception):
    """A step did not come out as it must."""


def say(text: str) -> None:
    """A line of narration."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def cloche(*arguments: str, status: int = 0) -> None:
    """Run a command as a person would, and show it. Raises FailedError when its status is another one."""
    print(f"$ cloche {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "cloche", *arguments], cwd=ROOT, stdin=subprocess.DEVNULL)
    if done.returncode != status:
        raise FailedError(f"cloche {arguments[0]} ended with status {done.returncode}, not {status}")


def talk() -> subprocess.Popen[str]:
    """A program in shop/front-0 that asks the api ten times a second, over one connection."""
    command = [
        sys.executable,
        "-m",
        "cloche",
        "exec",
        "shop/front-0",
        "--",
        sys.executable,
        "-c",
        TALK,
        "api",
    ]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    talking = subprocess.Popen(command, cwd=ROOT, text=True, **streams)  # type: ignore[call-overload]
    assert isinstance(talking, subprocess.Popen)
    return talking


def cut_a_connection() -> None:
    """Open a connection, see it answered, apply the change, see it silent. Raises FailedError."""
    talking = talk()
    try:
        os.set_blocking(talking.stdout.fileno(), False)  # type: ignore[union-attr]
        before = answers(talking, ANSWERS_BEFORE, ANSWER_SECONDS)
        if len(before) < ANSWERS_BEFORE:
            raise FailedError("the api did not answer the front end")
        print(f"shop/front-0 asks the api over one connection; {before[0]} answers")
        cloche("apply", "-f", "examples/shop-lockdown.yaml")
        answers(talking, 1000, 0.2)
        after = answers(talking, 1, SILENT_SECONDS)
        if after:
            raise FailedError("the connection was not cut")
        print(f"the same connection, {SILENT_SECONDS:.0f} s later: no answer any more. What the kernel told:")
        tell_cuts()
    finally:
        talking.kill()
        talking.wait()


def tell_cuts() -> None:
    """The flows that were cut, as cloche tells of them. Raises FailedError when there are none."""
    command = [sys.executable, "-m", "cloche", "flows"]
    print("$ cloche flows | grep ' cut '")
    told = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
    cuts = [line for line in told.splitlines() if " cut " in line]
    print("\n".join(cuts))
    if not cuts:
        raise FailedError("no flow was told to be cut")


def answers(talking: subprocess.Popen[str], count: int, seconds: float) -> list[str]:
    """Up to ``count`` lines that come within ``seconds``."""
    assert talking.stdout is not None
    found: list[str] = []
    end = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        line = talking.stdout.readline()
        if line:
            found.append(line.strip())
        else:
            time.sleep(0.02)
    return found


def story() -> None:
    """The demonstration, but for taking it down."""
    say("A shop: front end, api, database; and an attacker in a namespace of its own.")
    cloche("up", "-f", "examples/shop", "--detach")
    say("Who reaches whom? What policy says, and what real packets between all pairs did:")
    cloche("matrix", "--live")
    say("Why does the attacker not reach the database, though it wears the front end's label?")
    cloche("explain", "attacker/eve", "shop/db-0", "sql/tcp", status=1)
    say("One change: the api stops listening to the front end. A connection between them is open.")
    cut_a_connection()
    cloche("explain", "shop/front-0", "shop/api-0", "http/tcp", status=1)
    say("The speed, against a bare veth pair, measured here and now:")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--no-save"], cwd=ROOT, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise FailedError(f"the benchmark ended with status {done.returncode}")


def main() -> int:
    """0 when all went as it must."""
    os.environ["CLOCHE_INSTANCE"] = INSTANCE
    keep = "--keep" in sys.argv[1:]
    print(f"(every command acts on the instance {INSTANCE}: CLOCHE_INSTANCE={INSTANCE})")
    failed = ""
    try:
        story()
    except FailedError as error:
        failed = str(error)
    if not keep:
        say("Everything of this instance goes again.")
        try:
            cloche("down")
        except FailedError as error:
            failed = failed or str(error)
            cloche("clean")
    if failed:
        print(f"the demonstration failed: {failed}", file=sys.stderr)
        return 1
    say("To keep a shop running and try things on it:")
    print("  .venv/bin/cloche up -f examples/shop --detach    # then matrix, explain, probe, flows, show")
    print("  .venv/bin/cloche down")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
