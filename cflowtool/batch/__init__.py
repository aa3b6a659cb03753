"""Many inputs in, ranked results out: naming, resuming, refusing to overwrite, one bad file never stopping the rest."""

from cflowtool.batch.inputs import Job, expand
from cflowtool.batch.outputs import Outputs
from cflowtool.batch.run import Outcome, Plan, run, write_report

__all__ = ["Job", "Outcome", "Outputs", "Plan", "expand", "run", "write_report"]
