"""The tasks: what is degraded, what is restored, and how the result becomes an image."""

from .base import Task
from .super_resolve import SuperResolve

TASKS: dict[str, type[Task]] = {"super-resolve": SuperResolve}

__all__ = ["TASKS", "SuperResolve", "Task"]
