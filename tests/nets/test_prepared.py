"""What is made of the parameters alone is kept as long as they stay as they are."""

import torch
from torch import nn

from cflowtool.nets.prepared import Preparable


class Doubled(Preparable):
    """Twice its parameter, made once or in every call."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.ones(()))
        self.made = 0

    def make(self) -> None:
        self.made += 1
        self.kept = 2 * self.value

    def forward(self) -> torch.Tensor:
        return self.kept if self.prepared else 2 * self.value


def test_it_is_made_once_and_then_used() -> None:
    module = Doubled().eval()
    assert not module.prepared
    module.prepare()
    results = [module() for _ in range(3)]
    assert module.prepared and module.made == 1 and all(result is module.kept for result in results)
    assert not module.kept.requires_grad


def test_a_change_makes_it_void_and_training_does_without() -> None:
    module = Doubled()
    module.prepare()
    assert not module.prepared and module.eval().prepared
    with torch.no_grad():
        module.value.mul_(3)
    assert not module.prepared and module() == 6
    module.prepare()
    assert module.prepared and module() == 6
    module.load_state_dict({"value": torch.tensor(4.0)})
    assert module() == 8


def test_one_module_says_nothing_about_another() -> None:
    module, other = Doubled().eval(), Doubled().eval()
    module.prepare()
    assert module.prepared and not other.prepared
