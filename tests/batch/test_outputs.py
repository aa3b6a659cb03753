"""Where results go and what may be written there."""

import json
from pathlib import Path

import numpy as np
import pytest

from cflowtool import images
from cflowtool.batch.inputs import Job
from cflowtool.batch.outputs import MARK, Outputs
from cflowtool.errors import OutputError, UsageError

PICTURE = images.Picture(np.zeros((2, 3, 3), np.uint8))
JOB = Job(Path("img.png"), Path("sub/img"))
KEY = "0123456789abcdef"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with one image."""
    monkeypatch.chdir(tmp_path)
    images.write(Path("img.png"), PICTURE)


def test_layouts() -> None:
    assert Outputs(Path("o"), ".jpg").file(JOB, "01.jpg") == Path("o/sub/img.jpg")
    assert Outputs(Path("o"), ".jpg", many=True).file(JOB, "01.jpg") == Path("o/sub/img/01.jpg")
    assert Outputs(Path("o"), many=True).marker(JOB) == Path("o/sub/img/samples.json")
    dotted = Job(Path("a.b.png"), Path("a.b"))
    assert Outputs(Path("o")).marker(dotted) == Path("o/a.b.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_a_finished_file_is_known_by_its_key(suffix: str) -> None:
    outputs = Outputs(Path("o"), suffix, skip_existing=True)
    assert outputs.state(JOB, KEY) == "absent"
    outputs.picture(JOB, "", PICTURE, {MARK: KEY})
    assert outputs.state(JOB, KEY) == "same"
    assert outputs.state(JOB, KEY[::-1]) == "other"


def test_a_file_of_the_same_key_may_be_written_again() -> None:
    outputs = Outputs(Path("o"), many=True, skip_existing=True)
    outputs.picture(JOB, "01.png", PICTURE, {MARK: KEY})
    outputs.picture(JOB, "01.png", PICTURE, {MARK: KEY})
    with pytest.raises(OutputError, match="exists already"):
        outputs.picture(JOB, "01.png", PICTURE, {MARK: KEY[::-1]})


def test_check_refuses_before_any_work() -> None:
    job = Job(Path("img.png"), Path("img"))
    with pytest.raises(UsageError, match="exclude each other"):
        Outputs(Path("o"), overwrite=True, skip_existing=True).check([job], [])
    for overwrite in (True, False):
        with pytest.raises(OutputError, match="replace an input"):
            Outputs(Path(), overwrite=overwrite).check([job], ["01.png"])
    Path("o/img").mkdir(parents=True)
    Path("o/img/02.png").touch()
    with pytest.raises(OutputError, match="exists already"):
        Outputs(Path("o"), many=True).check([job], ["01.png", "02.png"])
    Outputs(Path("o"), many=True, overwrite=True).check([job], ["01.png", "02.png"])
    Outputs(Path("o"), many=True, skip_existing=True).check([job], ["01.png", "02.png"])


def test_another_input_is_not_replaced_either() -> None:
    Path("o").mkdir()
    images.write(Path("o/img.png"), PICTURE)
    jobs = [Job(Path("img.png"), Path("img")), Job(Path("o/img.png"), Path("other"))]
    with pytest.raises(OutputError, match="replace an input"):
        Outputs(Path("o"), overwrite=True).check(jobs, ["01.png"])


def test_an_overwritten_result_leaves_nothing_behind() -> None:
    outputs = Outputs(Path("o"), many=True, overwrite=True)
    names = ["01.png", "02.png", "mean.png"]
    for name in names:
        outputs.picture(JOB, name, PICTURE, {MARK: KEY})
    Path("o/sub/img/mine.txt").touch()
    Path("o/sub/keep.png").touch()
    samples = [{"file": name} for name in ("01.png", "02.png", "../keep.png")]
    outputs.manifest(JOB, {"samples": samples, "maps": {"mean": "mean.png"}}, [])
    stale = outputs.begin(JOB)
    assert [path.name for path in stale] == names
    assert outputs.state(JOB, KEY) == "absent"
    outputs.picture(JOB, "01.png", PICTURE, {MARK: KEY})
    outputs.manifest(JOB, {"samples": [], "maps": {}}, stale[1:])
    assert sorted(p.name for p in Path("o/sub/img").iterdir()) == ["01.png", "mine.txt", "samples.json"]
    assert Path("o/sub/keep.png").exists()


def test_a_manifest_that_is_no_manifest_is_left_to_the_rules() -> None:
    Path("o/sub/img").mkdir(parents=True)
    for text in ("[]", "{", json.dumps({"samples": 3})):
        Path("o/sub/img/samples.json").write_text(text)
        assert Outputs(Path("o"), many=True, overwrite=True).begin(JOB) == []
