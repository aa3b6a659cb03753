"""What a training run says of itself, in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import images
from .errors import OutputError, escape


class Journal:
    """What happened in a run: metrics.jsonl, one JSON object a line, and sheets/step-N.png, one a validation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def line(self, **figures: Any) -> None:
        """Append one line; raise OutputError where that is not possible."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")
        except OSError as error:
            what = f"cannot write to {escape(self.folder)}: {error.strerror}"
            raise OutputError(what, "choose another --out, or free space") from error

    def sheet(self, step: int, picture: images.Picture) -> None:
        """Write the sample sheet of a step."""
        images.write(self.folder / "sheets" / f"step-{step:06}.png", picture, overwrite=True)
