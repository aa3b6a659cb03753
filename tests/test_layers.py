"""The house of cflowtool: who may import whom, how long a file and a function may be, where its test stands."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "cflowtool"
LAYERS = {
    "errors": 1,
    "tiles": 2, "images": 2, "metrics": 2, "device": 2, "graphs": 2, "memory": 2, "deferred": 2,
    "views": 3, "figures": 3, "flows": 3, "nets": 3,
    "models": 4, "tasks": 4,
    "recipes": 5, "dataset": 5, "header": 5, "budget": 5,
    "schedule": 6, "weights": 6, "calibrate": 6, "checkpoint": 6, "canvas": 6, "engine": 6, "validation": 6,
    "journal": 6, "prefetch": 6, "processes": 6, "hub": 6, "hub_errors": 6, "model_card": 6,
    "restorer": 7, "pretrained": 7, "trainer": 7, "export": 7, "batch": 7, "evaluate": 7,
    "cli": 8,
}  # fmt: skip
ALLOWED = {
    "flows": {"nets"},
    "hub": {"hub_errors", "model_card", "weights"}, "model_card": {"weights"},
    "trainer": {"restorer"}, "export": {"trainer"}, "evaluate": {"restorer"}, "batch": {"restorer"},
    "pretrained": {"hub", "restorer"},
}  # fmt: skip
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)

Sources = dict[str, str]


def read_sources() -> Sources:
    """Return {dotted name below cflowtool: source}; a package's name stands for its __init__.py."""
    named = {path.relative_to(PACKAGE).with_suffix("").parts: path for path in sorted(PACKAGE.rglob("*.py"))}
    return {".".join(parts): path.read_text(encoding="utf-8") for parts, path in named.items()}


def base_of(node: ast.ImportFrom, importer: str) -> list[str]:
    """Return the dotted parts that a `from` import starts at, relative ones resolved."""
    named = node.module.split(".") if node.module else []
    if not node.level:
        return named
    parents = ["cflowtool", *importer.split(".")]
    return parents[: len(parents) - node.level] + named


def raw_imports(source: str, importer: str) -> Iterator[list[str]]:
    """Yield the dotted parts of every import in a source, wherever in the file it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ([*base_of(node, importer), alias.name] for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value.split(".")


def resolve(parts: list[str], sources: Sources) -> str:
    """Return the module that an import names: the longest prefix that is a file, else the package or its __init__."""
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        for module in (name, f"{name}.__init__"):
            if module in sources:
                return module
    return parts[0] if parts[0] in LAYERS else "__init__"


def imports_of(importer: str, sources: Sources) -> set[str]:
    """Return the modules of cflowtool that one of them imports."""
    found = (parts[1:] for parts in raw_imports(sources[importer], importer) if parts[0] == "cflowtool")
    return {resolve(parts or ["__init__"], sources) for parts in found} - {importer}


def layer_of(unit: str) -> int | None:
    """Return a unit's number; the package's own __init__ is below everything and __main__ above."""
    return {"__init__": 0, "__main__": 9}.get(unit, LAYERS.get(unit))


def import_fault(importer: str, imported: str) -> str | None:
    """Return what is wrong with one import, or None."""
    above, below = importer.split(".")[0], imported.split(".")[0]
    upper, lower = layer_of(above), layer_of(below)
    if upper is None or lower is None:
        return f"{importer} -> {imported}: no layer number"
    if above == below or lower < upper or below in ALLOWED.get(above, ()):
        return None
    return f"{importer} ({upper}) -> {imported} ({lower})"


def import_faults(sources: Sources) -> list[str]:
    """Return every import that goes up or sideways, every unit without a number, and a cycle if there is one."""
    graph = {module: imports_of(module, sources) for module in sources}
    pairs = [(module, target) for module in graph for target in sorted(graph[module])]
    faults = [fault for pair in pairs if (fault := import_fault(*pair))]
    faults += [f"{module}: no layer number" for module in graph if layer_of(module.split(".")[0]) is None]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        faults.append("cycle: " + " -> ".join(error.args[1]))
    return faults


def size_faults(sources: Sources) -> list[str]:
    """Return files of more than 300 lines, functions of more than 40, functions without a return annotation."""
    faults = []
    for module, source in sources.items():
        if (count := len(source.splitlines())) > 300:
            faults.append(f"{module}: {count} lines")
        for node in (found for found in ast.walk(ast.parse(source)) if isinstance(found, FUNCTION)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > 40:
                faults.append(f"{module}.{node.name}: {length} lines")
            if node.returns is None:
                faults.append(f"{module}.{node.name}: no return annotation")
    return faults


def is_mirrored(module: str, tests: Sources) -> bool:
    """Say whether a module has its test file; a command may share one as long as that file names it."""
    *folders, name = module.split(".")
    if name.startswith("__") or {"/".join([*folders, f"test_{name}.py"]), f"test_{name}.py"} & tests.keys():
        return True
    shared = [text for path, text in tests.items() if path.startswith(("cli/test_", "test_cli_"))]
    word = re.compile(rf"\b{name.strip('_').replace('_', '[-_]')}\b")
    return folders[:1] == ["cli"] and any(word.search(text) for text in shared)


def test_imports_go_down() -> None:
    assert import_faults(read_sources()) == []


def test_files_and_functions_are_short_and_annotated() -> None:
    assert size_faults(read_sources()) == []


def test_tests_mirror_the_package() -> None:
    folder = ROOT / "tests"
    tests = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.py")}
    assert [module for module in read_sources() if not is_mirrored(module, tests)] == []


def test_the_whole_package_is_read() -> None:
    assert {module.split(".")[0] for module in read_sources()} >= {"errors", "flows", "models", "tasks", "cli"}


HOUSE = {"__init__": "", "errors": "", "restorer": "", "flows.__init__": "", "flows.actnorm": "", "tasks.base": "",
         "models.base": "", "nets.rrdb": "", "weights": ""}  # fmt: skip


@pytest.mark.parametrize(
    ("importer", "source", "fault"),
    [
        ("flows.pyramid", "from cflowtool.models.base import Sampler", "flows.pyramid (3) -> models.base (4)"),
        ("models.cnf", "from cflowtool.tasks import base", "models.cnf (4) -> tasks.base (4)"),
        ("tasks.denoise", "import cflowtool.models.base", "tasks.denoise (4) -> models.base (4)"),
        ("flows.pyramid", "def late() -> None:\n    from cflowtool import weights", "flows.pyramid (3) -> weights (6)"),
        ("flows.pyramid", "from ..models.base import Sampler", "flows.pyramid (3) -> models.base (4)"),
        ("flows.pyramid", "import_module('cflowtool.weights')", "flows.pyramid (3) -> weights (6)"),
        ("nets.rrdb", "from cflowtool.flows import actnorm", "nets.rrdb (3) -> flows.actnorm (3)"),
        ("batch", "from cflowtool import trainer", "batch (7) -> trainer (7)"),
        ("helpers", "", "helpers: no layer number"),
    ],
)
def test_a_forbidden_import_is_caught(importer: str, source: str, fault: str) -> None:
    assert import_faults({**HOUSE, importer: source}) == [fault]


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("flows.pyramid", "from .actnorm import ActNorm\nfrom . import actnorm\nfrom cflowtool.errors import A"),
        ("models.cnf", "import torch\nfrom cflowtool.flows import actnorm\nfrom cflowtool.models import base"),
        ("trainer", "from cflowtool.restorer import Restorer"),
        ("cli.main", "from cflowtool import __version__, restorer"),
    ],
)
def test_a_lawful_import_passes(importer: str, source: str) -> None:
    assert import_faults({**HOUSE, importer: source}) == []


def test_a_cycle_is_caught() -> None:
    cycle = {"flows.a": "from cflowtool.flows import b", "flows.b": "def f() -> None:\n    from . import a"}
    assert [fault.split(":")[0] for fault in import_faults({**HOUSE, **cycle})] == ["cycle"]


def test_what_is_long_or_unannotated_is_caught() -> None:
    long = "def f() -> None:\n" + "    pass\n" * 40
    sources = {"errors": "pass\n" * 301, "tiles": long, "images": "class A:\n    def g(self): ...\n"}
    assert size_faults(sources) == ["errors: 301 lines", "tiles.f: 41 lines", "images.g: no return annotation"]


def test_a_missing_mirror_is_caught() -> None:
    tests = {"flows/test_actnorm.py": "", "test_errors.py": "", "cli/test_all.py": "run('super-resolve')"}
    modules = ["flows.actnorm", "flows.__init__", "errors", "cli.super_resolve", "flows.squeeze", "cli.rank"]
    assert [module for module in modules if not is_mirrored(module, tests)] == ["flows.squeeze", "cli.rank"]
