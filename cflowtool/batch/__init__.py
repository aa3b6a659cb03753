"""Many inputs in, ranked results out: naming, resuming, refusing to overwrite, one bad file never stopping the rest."""

from cflowtool.batch.inputs import Job, expand
from cflowtool.batch.masks import Masks
from cflowtool.batch.outputs import Outputs
from cflowtool.batch.plan import Estimate, Plan
from cflowtool.batch.run import Outcome, run, write_report

__all__ = ["Estimate", "Job", "Masks", "Outcome", "Outputs", "Plan", "expand", "run", "write_report"]
