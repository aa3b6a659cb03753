"""Puts weights/*.safetensors, and nothing else of that folder, into the wheel."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WeightsHook(BuildHookInterface[Any]):
    """Maps each weight file to cflowtool/weights_data/; an editable install reads the checkout's own folder."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the weight files to a standard wheel."""
        if version == "editable":
            return
        for path in sorted(Path(self.root, "weights").glob("*.safetensors")):
            build_data["force_include"][str(path)] = f"cflowtool/weights_data/{path.name}"
