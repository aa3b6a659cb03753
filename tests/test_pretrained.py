"""From Python comes what the commands give, as tensors too."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cflowtool
from cflowtool import from_pretrained, images, weights
from cflowtool.errors import CflowError, OutputError, UsageError, WeightsError
from cflowtool.pretrained import Pretrained, as_mask, as_picture, as_tensor
from tests.local_hub import LocalHub

GUIDE = Path(__file__).parent.parent / "docs" / "how-to" / "python.md"
BLOCKS = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def tiny(tiny_weight: Path) -> Pretrained:
    return from_pretrained(tiny_weight, device="cpu")


@pytest.fixture
def all_weights(tiny_weight: Path, small_weights: dict[str, Path]) -> dict[str, Path]:
    return {"super-resolve": tiny_weight, **small_weights}


@pytest.mark.parametrize("task", ["super-resolve", "denoise", "inpaint", "colorize", "segment-vessels"])
@pytest.mark.parametrize("size", [(24, 32), (25, 37)])
def test_samples_as_tensors_are_the_pictures_before_rounding(
    task: str, size: tuple[int, int], all_weights: dict[str, Path], photo: Callable[..., Path], tmp_path: Path
) -> None:
    model, mask = from_pretrained(all_weights[task], device="cpu"), None
    path = photo(tmp_path / "a.png", *size)
    if task == "inpaint":
        mask = np.zeros(size, np.uint8)
        mask[5:12, 6:20] = 255
    if task == "denoise":
        model.task.adapt(sigma=20)
    restored = model.restore(path, mask, samples=2, temperature=0.7, seed=3)
    draws = model.sample(path, 2, 0.7, 3, mask)
    levels = (draws.y[0] * 256).floor().clamp(0, 255).movedim(1, -1).numpy().astype(np.uint8)
    for picture, drawn in zip(restored.pictures, levels, strict=True):
        shown = (np.array(picture.pixels) > 0) * 1 if task == "segment-vessels" else picture.pixels.astype(int)
        drawn = (drawn > 0) * 1 if task == "segment-vessels" else drawn.astype(int)
        assert shown.shape == drawn.shape and np.abs(shown - drawn).max() <= 1 and (shown != drawn).mean() < 1e-3
    if restored.log_prob is not None and task != "inpaint":
        assert draws.log_prob is not None
        assert draws.log_prob[0].tolist() == pytest.approx(restored.log_prob, rel=1e-4)


def test_the_log_prob_of_a_draw_is_that_of_the_model(tiny: Pretrained) -> None:
    x = torch.rand(3, 16, 20, generator=torch.Generator().manual_seed(0))
    draws = tiny.sample(x, 3, 0.9, 1)
    assert draws.y.shape == (1, 3, 3, 32, 40) and draws.log_prob is not None
    again = [float(tiny.model.log_prob(y[None], x[None])) for y in draws.y[0]]
    assert draws.log_prob[0].tolist() == pytest.approx(again, rel=1e-5)
    assert draws.ranked().log_prob[0].tolist() == sorted(draws.log_prob[0].tolist(), reverse=True)


def test_sample_k_is_the_same_in_any_number(tiny: Pretrained) -> None:
    x = torch.rand(3, 16, 20, generator=torch.Generator().manual_seed(0))
    one, three = tiny.sample(x, 1, 0.9, 1), tiny.sample(x, 3, 0.9, 1)
    assert torch.allclose(one.y[:, 0], three.y[:, 0], atol=1e-6)


def test_a_candidate_scores_as_its_levels_midpoints(
    tiny: Pretrained, photo: Callable[..., Path], tmp_path: Path
) -> None:
    small, large = photo(tmp_path / "a.png", 12, 16), photo(tmp_path / "b.png", 24, 32)
    exact = float(tiny.model.log_prob(as_tensor(large), as_tensor(small)))
    assert tiny.log_prob(small, large).log_prob == pytest.approx(exact, rel=1e-5)
    assert tiny.log_prob(small, as_tensor(large)).log_prob == pytest.approx(exact, rel=1e-5)
    assert tiny.log_prob(small, large, draws=4).standard_error > 0
    with pytest.raises(CflowError):
        tiny.log_prob(small, small)


def test_saved_weights_come_back_bit_for_bit(tiny: Pretrained, tiny_weight: Path, tmp_path: Path) -> None:
    for target in (tmp_path / "folder", tmp_path / "one.safetensors"):
        written = tiny.save_pretrained(target)
        assert written.read_bytes() == tiny_weight.read_bytes()
        assert from_pretrained(target, device="cpu").card == tiny.card
        with pytest.raises(OutputError):
            tiny.save_pretrained(target)
        tiny.save_pretrained(target, overwrite=True)


def test_what_was_changed_is_saved_as_it_is(tiny: Pretrained, tmp_path: Path) -> None:
    with torch.no_grad():
        next(tiny.model.parameters()).add_(0.25)
    other = from_pretrained(tiny.save_pretrained(tmp_path), device="cpu")
    own, saved = tiny.model.state_dict(), other.model.state_dict()
    assert own.keys() == saved.keys() and all(torch.equal(own[key], saved[key]) for key in own)
    assert other.card.tensors_sha256 != tiny.card.tensors_sha256


def test_a_hub_is_one_more_place(hub: LocalHub, tiny_weight: Path) -> None:
    commit = hub.add("org/tiny", {"model.safetensors": tiny_weight.read_bytes()})
    with pytest.raises(WeightsError, match="not in the cache"):
        from_pretrained("org/tiny", offline=True)
    assert from_pretrained("org/tiny", device="cpu").restorer.sha256 == weights.load(tiny_weight).sha256
    assert from_pretrained(f"org/tiny@{commit}", device="cpu", offline=True).card.name == "tiny"
    with pytest.raises(WeightsError):
        from_pretrained("nonsense")


def test_an_image_is_an_image_however_it_is_given(photo: Callable[..., Path], tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png")
    read = images.read(path)
    tensor = as_tensor(read)
    for source in (path, str(path), read, read.pixels, Image.open(path), tensor, tensor[0]):
        assert np.array_equal(as_picture(source).pixels, read.pixels) and torch.equal(as_tensor(source), tensor)
    grey = read.pixels[..., :1]
    for source in (grey, grey[..., 0], as_tensor(grey)[:, :1]):
        assert np.array_equal(as_picture(source).pixels, grey)
        assert torch.equal(as_tensor(source), as_tensor(grey)) and as_tensor(source).shape[1] == 3
    wide = read.pixels.astype(np.uint16) * 257
    assert torch.equal(
        as_tensor(wide), (torch.from_numpy(wide.astype(np.float32)).permute(2, 0, 1)[None] + 0.5) / 65536
    )


@pytest.mark.parametrize("value", [0, 255])
def test_masks_are_the_same_however_they_are_given(value: int) -> None:
    array = np.full((4, 6), value, np.uint8)
    colour = np.repeat(array[..., None], 3, 2)
    for source in (array, colour, Image.fromarray(array), torch.full((1, 4, 6), value / 255)):
        assert torch.equal(as_mask(source), torch.full((1, 1, 4, 6), value / 255))


WRONG: list[Any] = [
    torch.zeros(2, 4, 4), torch.zeros(2, 3, 4, 4), torch.full((3, 4, 4), 1.5), torch.full((3, 4, 4), torch.nan),
    torch.zeros(3, 4, 4, dtype=torch.uint8), np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8),
]  # fmt: skip


@pytest.mark.parametrize(
    "source", WRONG, ids=lambda value: f"{type(value).__name__} {tuple(value.shape)} {value.dtype}"
)
def test_what_is_no_image_is_a_usage_error(source: Any) -> None:
    with pytest.raises(UsageError):
        as_tensor(source)


def test_importing_the_package_is_light_and_its_names_are_there() -> None:
    code = "import sys, cflowtool; print('torch' in sys.modules, dir(cflowtool).count('from_pretrained'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "1"]
    assert all(hasattr(cflowtool, name) for name in cflowtool.__all__) and not hasattr(cflowtool, "nothing")


def test_the_guide_runs_as_it_is_printed(
    tiny_weight: Path, small_weights: dict[str, Path], photo: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    photo(Path("photo.png"), 12, 14)
    photo(Path("candidate.png"), 24, 28)
    folder = tmp_path / "bundled"
    folder.mkdir()
    (folder / "super-resolve-cnf-x2.safetensors").write_bytes(tiny_weight.read_bytes())
    monkeypatch.setattr(weights, "folders", lambda: [folder])
    names: dict[str, Any] = {}
    blocks = BLOCKS.findall(GUIDE.read_text(encoding="utf-8"))
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), names)
    assert len(blocks) >= 4 and Path("large.png").is_file() and Path("mine", "model.safetensors").is_file()
    assert names["draws"].y.shape == (1, 4, 3, 24, 28) and names["score"].bits_per_dim > 0
