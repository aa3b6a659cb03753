"""A cflow command that says last on stderr, as JSON, where its time went: python benchmarks/staged.py COMMAND ..."""

from __future__ import annotations

import time

STARTED = time.perf_counter()

import atexit  # noqa: E402
import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402

from cflowtool import weights  # noqa: E402
from cflowtool.batch.run import Steps  # noqa: E402
from cflowtool.cli.main import main  # noqa: E402
from cflowtool.engine import Engine  # noqa: E402

SPENT: Counter[str] = Counter(imports=time.perf_counter() - STARTED)


def timed(owner: Any, name: str, stage: str, wait: bool = False) -> None:
    """Add the wall time of every call of a function to a stage; ``wait`` for what it has begun on a GPU."""
    call: Callable[..., Any] = getattr(owner, name)

    def measured(*args: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            found = call(*args, **options)
            if wait and torch.cuda.is_available():
                torch.cuda.synchronize()
            return found
        finally:
            SPENT[stage] += time.perf_counter() - started

    setattr(owner, name, measured)


def report() -> None:
    """Print the seconds of every stage and of all, and the peak memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(json.dumps({"stages": SPENT, "all": time.perf_counter() - STARTED, "peak_mebibytes": peak}), file=sys.stderr)


if __name__ == "__main__":
    timed(weights, "load", "load")
    timed(Steps, "read", "read")
    timed(Steps, "restore", "restore")
    timed(Engine, "encode", "encode", wait=True)
    timed(Engine, "decoding", "decode", wait=True)
    timed(Steps, "write", "write")
    atexit.register(report)
    main()
