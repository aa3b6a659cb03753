"""Curves against an example made by hand, brute force and torchmetrics, inside the field of view alone."""

import json

import pytest
import torch
from torch import Tensor
from torchmetrics.functional import classification

from cflowtool.metrics.segmentation import iou, pooled, precision_recall, precision_recall_curve, reliability


def scene(seed: int = 0, levels: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    truth = torch.rand(15, 20, generator=g) < 0.3
    p = (torch.rand(15, 20, generator=g) + truth).mul(levels / 2).floor() / levels
    return p, truth, torch.rand(15, 20, generator=g) < 0.7


def test_an_example_made_by_hand() -> None:
    p = torch.tensor([[0.9, 0.8, 0.6], [0.6, 0.3, 1.0]])
    truth = torch.tensor([[1, 0, 1], [0, 1, 1]])
    inside = torch.tensor([[1, 1, 1], [1, 1, 0]])
    curve = precision_recall_curve(p, truth, inside)
    assert torch.allclose(curve.thresholds, torch.tensor([0.3, 0.6, 0.8, 0.9]))
    assert curve.precision.tolist() == pytest.approx([3 / 5, 2 / 4, 1 / 2, 1])
    assert curve.recall.tolist() == pytest.approx([1, 2 / 3, 1 / 3, 1 / 3])
    assert curve.f_score.tolist() == pytest.approx([3 / 4, 4 / 7, 2 / 5, 1 / 2])
    assert curve.best == pytest.approx((3 / 4, 0.3))


def test_the_curve_is_brute_force() -> None:
    p, truth, inside = scene()
    curve = precision_recall_curve(p, truth, inside)
    pixels = [(a, b) for a, b, c in zip(p.flatten(), truth.flatten(), inside.flatten(), strict=True) if c]
    for threshold, precision, recall in zip(curve.thresholds, curve.precision, curve.recall, strict=True):
        found = [(a >= threshold, b) for a, b in pixels]
        both = sum(bool(a and b) for a, b in found)
        assert precision.item() == pytest.approx(both / sum(bool(a) for a, _ in found))
        assert recall.item() == pytest.approx(both / sum(bool(b) for _, b in found))


def test_the_curve_is_that_of_torchmetrics() -> None:
    p, truth, inside = scene(1)
    curve = precision_recall_curve(p, truth, inside)
    precision, recall, thresholds = classification.binary_precision_recall_curve(p[inside], truth[inside].long())
    assert torch.equal(curve.thresholds, thresholds)
    assert torch.allclose(curve.precision, precision[:-1].double(), atol=1e-6)
    assert torch.allclose(curve.recall, recall[:-1].double(), atol=1e-6)


def test_what_is_outside_is_never_counted() -> None:
    p, truth, inside = scene(2)
    other_p, other_truth = torch.where(inside, p, 1 - p), torch.where(inside, truth, ~truth)
    first, second = precision_recall_curve(p, truth, inside), precision_recall_curve(other_p, other_truth, inside)
    assert torch.equal(first.precision, second.precision)
    assert torch.equal(first.recall, second.recall)
    assert torch.equal(reliability(p, truth, inside).count, reliability(other_p, other_truth, inside).count)
    masks, others = p[None] > 0.5, other_p[None] > 0.5
    assert torch.equal(iou(masks, truth, inside), iou(others, other_truth, inside))
    assert precision_recall(masks, truth, inside) == precision_recall(others, other_truth, inside)


def test_only_the_order_of_the_values_counts_and_recall_falls_with_the_threshold() -> None:
    p, truth, _ = scene(3)
    curve, warped = precision_recall_curve(p, truth), precision_recall_curve(p**3, truth)
    assert torch.equal(curve.precision, warped.precision)
    assert (curve.recall.diff() <= 0).all()
    assert curve.recall[0] == 1
    assert precision_recall_curve(truth.float(), truth).best == (1.0, 1.0)


def test_a_thresholded_map_lies_on_the_curve_and_iou_follows_from_its_f_score() -> None:
    p, truth, inside = scene(4)
    curve = precision_recall_curve(p, truth, inside)
    masks = p >= curve.thresholds[:, None, None]
    precision, recall = precision_recall(masks, truth, inside)
    assert torch.allclose(precision, curve.precision)
    assert torch.allclose(recall, curve.recall)
    assert torch.allclose(iou(masks, truth, inside), curve.f_score / (2 - curve.f_score))
    assert curve.best[0] == pytest.approx(curve.f_score.max().item())


def test_empty_masks_have_their_conventions() -> None:
    _, truth, _ = scene()
    precision, recall = precision_recall(torch.zeros(1, 15, 20), truth)
    assert (precision.item(), recall.item(), iou(torch.zeros(1, 15, 20), truth).item()) == (1, 0, 0)
    assert iou(torch.zeros(1, 15, 20), torch.zeros(15, 20)).item() == 1


def test_a_map_that_says_what_happens_is_reliable_and_a_sure_one_is_not() -> None:
    g = torch.Generator().manual_seed(0)
    p = torch.rand(300, 300, generator=g)
    truth = torch.rand(300, 300, generator=g) < p
    found = reliability(p, truth)
    assert found.count.sum() == p.numel()
    error = (found.predicted * (1 - found.predicted) / found.count).sqrt()
    assert ((found.observed - found.predicted).abs() < 4 * error).all()
    assert found.error < 0.01 < 0.2 < reliability((p > 0.5).float(), truth).error


def test_the_calibration_error_is_that_of_torchmetrics() -> None:
    p, truth, inside = scene(5, levels=1000)
    p = p.clamp(max=1) * 0.9973 + 0.001
    expected = classification.binary_calibration_error(p[inside], truth[inside].long(), n_bins=7, norm="l1")
    assert reliability(p, truth, inside, bins=7).error == pytest.approx(expected.item(), abs=1e-5)


def test_empty_bins_are_nan_and_count_nothing() -> None:
    found = reliability(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0, 1, 1]), bins=4)
    assert found.count.tolist() == [1, 0, 1, 1]
    assert found.predicted.isnan().tolist() == found.observed.isnan().tolist() == [False, True, False, False]
    assert found.error == pytest.approx(0.5 / 3)


def test_maps_pooled_are_one_map() -> None:
    scenes = [scene(seed, levels=1000) for seed in range(3)]
    whole = reliability(*(torch.stack(planes).clamp(max=1) for planes in zip(*scenes, strict=True)))
    parts = pooled([reliability(p.clamp(max=1), truth, inside) for p, truth, inside in scenes])
    assert torch.equal(parts.count, whole.count) and parts.error == pytest.approx(whole.error)
    for one, other in ((parts.predicted, whole.predicted), (parts.observed, whole.observed)):
        assert torch.allclose(one, other, equal_nan=True)
    with pytest.raises(ValueError, match="no maps"):
        pooled([])


def test_what_is_said_of_it_is_json() -> None:
    found = reliability(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0, 1, 1]), bins=4)
    said = json.loads(json.dumps(found.said(), allow_nan=False))
    assert said == {
        "error": found.error,
        "count": [1, 0, 1, 1],
        "predicted": [0, None, 0.5, 1],
        "observed": [0, None, 1, 1],
    }


def test_what_does_not_fit_is_refused() -> None:
    p, truth, inside = scene()
    nothing = torch.zeros_like(truth)
    for call, message in [
        (lambda: precision_recall_curve(p[1:], truth), "shapes differ"),
        (lambda: precision_recall_curve(p, truth, inside[1:]), "shapes differ"),
        (lambda: precision_recall_curve(p, nothing), "nothing to find"),
        (lambda: precision_recall_curve(p, truth, nothing), "field of view is empty"),
        (lambda: precision_recall_curve(p * torch.nan, truth), "nan"),
        (lambda: precision_recall(truth[None], nothing), "nothing to find"),
        (lambda: precision_recall(truth, truth), "wanted"),
        (lambda: iou(p[None], truth), "0 and 1"),
        (lambda: reliability(p + 1, truth), "wanted"),
        (lambda: reliability(p, truth, bins=0), "wanted"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
