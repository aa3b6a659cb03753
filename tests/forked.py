"""Whole runs of the command as processes of their own, forked from one that has imported torch already."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
MARK = "CFLOW_TEST_RUN"
SERVER = """
import json, os, sys
import torch
torch.set_num_threads(1)
from cflowtool import batch, images, restorer, views, weights
from cflowtool.cli import main

def child(asked):
    os.chdir(asked["folder"])
    for number, name in ((0, asked["input"]), (1, "stdout"), (2, "stderr")):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(name, flags), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")
    sys.argv = ["cflow", *asked["arguments"]]
    exec(asked["first"], {})
    main.main()

print("ready", flush=True)
while line := sys.stdin.readline():
    pid = os.fork()
    if pid == 0:
        try:
            child(json.loads(line))
        except SystemExit as end:
            os._exit(end.code or 0)
        finally:
            os._exit(99)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass
class Forked:
    """One such process; `first` is run in it before the command, to break something, say."""

    server: subprocess.Popen[str]
    folder: Path
    pid: int
    started: float = field(default_factory=time.perf_counter)

    def signal(self, number: int) -> float:
        """Send a signal and return when."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        return time.perf_counter()

    def wait(self) -> int:
        """Return the exit code, minus the signal's number after a signal."""
        assert self.server.stdout
        return int(self.server.stdout.readline())

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Wait until the process has said something on stderr."""
        end = time.perf_counter() + seconds
        while text not in self.err:
            if time.perf_counter() > end:
                raise TimeoutError(self.err)
            time.sleep(0.005)

    @property
    def out(self) -> str:
        """Return what it has printed on stdout so far."""
        return (self.folder / "stdout").read_text("utf-8", "replace")

    @property
    def err(self) -> str:
        """Return what it has printed on stderr so far."""
        return (self.folder / "stderr").read_text("utf-8", "replace")


@dataclass
class Forks:
    """The process that the others are forked from."""

    server: subprocess.Popen[str]
    token: str

    def start(
        self, folder: Path, arguments: Sequence[object], first: str = "", stdin: Path = Path(os.devnull)
    ) -> Forked:
        """Run a command line in a folder, one at a time; stdout and stderr are files elsewhere."""
        said = folder.parent / f"{folder.name}-said"
        said.mkdir(exist_ok=True)
        for name in ("stdout", "stderr"):
            (said / name).write_text("")
        asked = {"folder": str(said), "arguments": [str(a) for a in arguments], "input": str(stdin)}
        asked["first"] = f"import os; os.chdir({str(folder)!r})\n{first}"
        assert self.server.stdin and self.server.stdout
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        return Forked(self.server, said, int(self.server.stdout.readline()))

    def left(self, seconds: float = 5) -> list[int]:
        """Return the processes that any run has left behind, which have so many seconds to end."""
        end = time.perf_counter() + seconds
        while (found := self._running()) and time.perf_counter() < end:
            time.sleep(0.02)
        return found

    def _running(self) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                pid = int(path.parent.name)
                if f"{MARK}={self.token}".encode() in path.read_bytes() and pid != self.server.pid:
                    found.append(pid)
        return found


@contextlib.contextmanager
def forking() -> Iterator[Forks]:
    """The process to fork from, as long as it is needed."""
    token = secrets.token_hex(8)
    environment = {**os.environ, MARK: token, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=pipe, stdout=pipe, text=True, env=environment, cwd=ROOT
    ) as server:
        assert server.stdout and server.stdin
        assert server.stdout.readline() == "ready\n"
        try:
            yield Forks(server, token)
        finally:
            server.stdin.close()
            server.wait(60)
