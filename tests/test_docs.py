"""README, docs and packaging say what is true of the checkout."""

import json
import re
import runpy
import subprocess
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"""\]\(<?([^)\s>]+)[^)]*\)|(?:src|href)=["']([^"']+)["']""")
# In pieces, so that this file does not match itself.
MACHINE = ["/" + name + "/" for name in ("work", "farm", "root")]
HOSTS = ["pythonhosted org", "pypi org", "deb debian", "registry npmjs", "download pytorch", "index url"]
FORBIDDEN = re.compile("|".join([*MACHINE, *(name.replace(" ", "[.-]") for name in HOSTS)]).encode(), re.IGNORECASE)


def readme_commands() -> tuple[str, str]:
    """Return the README's first two code blocks: super-resolve, test."""
    first, second = FENCE.findall(README.read_text(encoding="utf-8"))[:2]
    return first.strip(), second.strip()


def links(text: str) -> list[str]:
    """Return the relative links and pictures of a Markdown text, code left out, anchors cut off."""
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))
    targets = [(a or b).partition("#")[0] for a, b in LINK.findall(prose)]
    return [target for target in targets if target and not re.match(r"[a-z]+:", target)]


def tracked_files() -> list[Path]:
    """Return the files that git tracks and that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def canonical(requirement: str) -> str:
    """Return a requirement's project name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()


def test_readme_opens_with_a_picture() -> None:
    title, picture = [line for line in README.read_text(encoding="utf-8").splitlines() if line.strip()][:2]
    assert title.startswith("# ")
    assert picture.startswith("![")


def test_readme_commands_are_one_line_each() -> None:
    show, check = readme_commands()
    assert "\n" not in show + check
    assert all(line.startswith("python3 -m venv .venv && ") for line in (show, check))
    image = re.search(r"cflow super-resolve (\S+) --samples 10 --temp 0\.8", show)
    assert image is not None
    assert (ROOT / image[1]).is_file()
    assert check.endswith("-m pytest")


def test_ci_runs_the_readme_command() -> None:
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == readme_commands()[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_resolve(page: Path) -> None:
    targets = links(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_mkdocs_nav_names_every_page() -> None:
    named = set(re.findall(r":\s+(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert named == {page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]}


def test_cli_reference_is_up_to_date() -> None:
    from cflowtool.cli.main import app

    generator = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))
    assert generator["TARGET"].read_text(encoding="utf-8") == generator["render"](app)


def test_figures_are_those_on_the_cards() -> None:
    generated = runpy.run_path(str(ROOT / "docs" / "generate_weights.py"))["pages"](ROOT)
    assert {path: path.read_text(encoding="utf-8") for path in generated} == generated


@pytest.fixture
def papers() -> dict[str, Any]:
    """The names in the script that writes the page on the papers' claims."""
    return runpy.run_path(str(ROOT / "benchmarks" / "papers_page.py"))


def test_the_page_on_the_papers_says_what_was_measured(papers: dict[str, Any]) -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "papers.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs" / "papers.md").read_text(encoding="utf-8") == papers["page"](results)


def test_a_verdict_needs_two_standard_errors(papers: dict[str, Any]) -> None:
    verdict = papers["verdict"]
    assert verdict((-0.3, 0.1), -1) == verdict((0.3, 0.1), 1) == "holds"
    assert verdict((0.19, 0.1), 1) == verdict((-0.19, 0.1), 1) == "not seen at this scale"
    assert "does not hold" in verdict((0.3, 0.1), -1) and "next to nothing" in verdict((0.009, 0.001), 1)


def test_draws_are_counted_between_the_budgets(papers: dict[str, Any]) -> None:
    needed, budgets, curve = papers["draws_needed"], (1, 2, 4, 8), (1.0, 0.8, 0.6, 0.5)
    assert [needed(budgets, curve, wanted) for wanted in (0.8, 0.6, 0.5)] == [2, 4, 8]
    assert 2 < needed(budgets, curve, 0.7) < 4 and needed(budgets, curve, 0.4) is None


def test_no_tracked_file_names_this_machine_or_a_registry() -> None:
    files = tracked_files()
    assert README in files
    assert [path.relative_to(ROOT).as_posix() for path in files if FORBIDDEN.search(path.read_bytes())] == []


def test_constraints_pin_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin)] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    assert {canonical(line) for line in wanted} - {canonical(pin) for pin in pins} == set()


def test_the_checks_can_fail() -> None:
    for pieces in (["see /", "work/main"], ["https://pypi", ".org/simple"], ["--index", "-url"]):
        assert FORBIDDEN.search("".join(pieces).encode())
    page = "[a](b.md#c) ![d](e.png) <img src='f.png'> `[g](h)` [i](https://example.com) [j](#k)"
    assert links(page) == ["b.md", "e.png", "f.png"]


def test_the_page_on_performance_is_that_of_its_figures() -> None:
    made = runpy.run_path(str(ROOT / "benchmarks" / "speed_page.py"))["page"]
    rows = json.loads((ROOT / "benchmarks" / "results" / "speed.json").read_text(encoding="utf-8"))["rows"]
    assert made(rows) == (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    work = {"seconds": 0.25, "gflop": 10.0, "calls": 7, "share": 0.5}
    row = {"name": "m", "device": "cpu", "threads": 2, "precision": "fp32", "parameters": 1e6, "ceiling": 80.0}
    row |= {"hardware": "h", "peak_mebibytes": 512.0}
    parts = [row | {"part": "use", "works": {"ten": work}}, row | {"part": "train", "works": {"train": work}}]
    line = "| m | 1.0 M | - | - | 0.250 s (50 %) | 0.250 s (50 %) | - | 10.0 | 7 | 0.500, 0.500, - |"
    assert line in made(parts).splitlines()
