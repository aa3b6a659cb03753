"""Many inputs in, ranked results out: naming, resuming, refusing to overwrite, one bad file never stopping the rest."""

from cflowtool.batch.inputs import Job, Shard, expand, listed
from cflowtool.batch.masks import Masks
from cflowtool.batch.outcome import Outcome, counted, write_report
from cflowtool.batch.outputs import Outputs
from cflowtool.batch.plan import Estimate, Plan
from cflowtool.batch.run import run, run_one

__all__ = [
    "Estimate",
    "Job",
    "Masks",
    "Outcome",
    "Outputs",
    "Plan",
    "Shard",
    "counted",
    "expand",
    "listed",
    "run",
    "run_one",
    "write_report",
]
