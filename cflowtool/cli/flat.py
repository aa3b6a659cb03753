"""How a dataclass of options becomes the options of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """The same command for typer, each parameter that is a dataclass of options replaced by its fields."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    plain = [
        p.replace(annotation=hints[p.name])
        for p in inspect.signature(command).parameters.values()
        if p.name not in groups
    ]
    options = [p for kind in groups.values() for p in _parameters(kind)]
    owner = {f.name: name for name, kind in groups.items() for f in fields(kind)}

    def flattened(**given: Any) -> None:
        grouped: dict[str, dict[str, Any]] = {name: {} for name in groups}
        direct = {name: value for name, value in given.items() if name not in owner}
        for name in given.keys() & owner.keys():
            grouped[owner[name]][name] = given[name]
        command(**direct, **{name: groups[name](**values) for name, values in grouped.items()})

    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*plain, *options)]
    flattened.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    flattened.__annotations__ = {p.name: p.annotation for p in keyword}
    flattened.__doc__, flattened.__name__ = _reflowed(inspect.getdoc(command) or ""), command.__name__
    return flattened


def _reflowed(text: str) -> str:
    """Each paragraph on one line, since rich keeps the line breaks of the source."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _parameters(kind: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(f.name, keyword, default=f.default, annotation=hints[f.name]) for f in fields(kind)]
