"""Devices."""

import pytest
import torch

from cflowtool.device import choose_device
from cflowtool.errors import UsageError


def test_auto_is_a_device_that_computes() -> None:
    assert float(torch.ones(3, device=choose_device("auto")).sum()) == 3


@pytest.mark.parametrize("name", ["tpu", "", "cuda:99"])
def test_a_device_that_is_not_there_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError):
        choose_device(name)
