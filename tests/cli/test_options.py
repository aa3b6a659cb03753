"""The shared options."""

import pytest

from cflowtool.cli.options import RestoreOptions

CONTRACT = [
    *("--samples", "--temp", "--keep", "--seed", "--model", "--out", "--format", "--device", "--precision", "--tile"),
    *("--recursive", "--skip-existing", "--overwrite", "--mean", "--std", "--sheet", "--report", "--json", "--quiet"),
    *("--debug", "--files-from", "--shard"),
]


def test_the_contract_is_whole(cflow) -> None:
    text = cflow("super-resolve", "--help").out
    assert [name for name in CONTRACT if name not in text] == []
    assert RestoreOptions().samples is None


@pytest.mark.parametrize("shard", ["", "3", "0/4", "5/4", "1/0", "a/b", "1/2/3", "-1/2", "1 /2"])
def test_a_shard_is_one_of_so_many(upscale, shard: str) -> None:
    result = upscale("img.png", "--shard", shard)
    assert result.code == 2 and "3/16" in result.err
