"""Divergence from the base model: by hand, against torch's own, and exactly 0 for the base itself."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from cl import cli
from cl.data.batches import collate
from cl.errors import UserError
from cl.models.forward import TokenLoss
from cl.probes.divergence import Divergence, kl
from cl.probes.probe import Data, State
from tests.support.data_node import SEQUENCE, data_folder
from tests.support.instruction import write_stream
from tests.support.training import SEPARATOR, tiny


def state(seed: int, base: int = 0, batch: int = 2) -> State:
    own, other = (TokenLoss(tiny(seed=each).eval(), SEPARATOR, boundaries=True) for each in (seed, base))
    return State(own, Path("tokenizer"), "cpu", batch, other)


def data(folder: Path, count: int = 5) -> Data:
    return Data({"english": data_folder(folder / "english", count)}, SEQUENCE, "test")


def test_by_hand() -> None:
    """p = (1/2, 1/2), q = (1/4, 3/4): KL(p || q) = ln 2 / 2 + ln (2/3) / 2; a distribution is 0 from itself."""
    p, q = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    assert float(kl(p, q)) == pytest.approx((math.log(2) + math.log(2 / 3)) / 2)
    assert float(kl(q, p)) == pytest.approx(math.log(1 / 2) / 4 + 3 * math.log(3 / 2) / 4)
    assert float(kl(q, q)) == 0.0


def test_two_models_diverge_as_torch_computes_it(tmp_path: Path) -> None:
    """Five rows in batches of two, against one pass over all rows."""
    probed, read = state(1), data(tmp_path)
    found = Divergence().measure(probed, read)["english"]
    assert probed.base is not None
    every = read.rows("english", "test")
    batch = collate([every[row] for row in range(5)], SEPARATOR)
    with torch.no_grad():
        q, p = (each.outputs(batch).logits().log_softmax(-1) for each in (probed.loss, probed.base))
    forward, reverse = (functional.kl_div(b, a, log_target=True, reduction="batchmean") for a, b in ((p, q), (q, p)))
    assert found["forward_kl"] == pytest.approx(float(forward), rel=1e-4)
    assert found["reverse_kl"] == pytest.approx(float(reverse), rel=1e-4)
    assert min(found.values()) > 0.01
    swapped = Divergence().measure(state(0, base=1), read)["english"]
    assert swapped["forward_kl"] == pytest.approx(found["reverse_kl"])


def test_the_base_has_not_moved(tmp_path: Path) -> None:
    assert Divergence().measure(state(3, base=3), data(tmp_path)) == {"english": {"forward_kl": 0.0, "reverse_kl": 0.0}}


def test_only_the_leading_rows_are_measured(tmp_path: Path) -> None:
    few = Divergence(rows=2).measure(state(1), data(tmp_path / "many", 5))
    assert few == Divergence().measure(state(1), Data({"english": _cut(tmp_path)}, SEQUENCE, "test"))


def _cut(folder: Path) -> Path:
    """The first two rows of the folder of five rows."""
    from safetensors.numpy import load_file, save_file

    made = data_folder(folder / "cut", 2)
    whole = load_file(folder / "many" / "english" / "tokens.safetensors")
    save_file({name: tokens[: 2 * SEQUENCE + 1] for name, tokens in whole.items()}, made / "tokens.safetensors")
    return made


def test_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rows: 0 must be at least 1"):
        Divergence(rows=0)
    with pytest.raises(UserError, match="english: the test split holds no row"):
        Divergence().measure(state(1), data(tmp_path, 0))


@pytest.mark.slow
def test_a_run_moves_away_from_its_base(tmp_path: Path) -> None:
    """Row 0 is exactly 0, of full weights and of adapters; later rows are not."""
    strategies = {"rewarm": None, "lora_sequential": None, "lora_alone": None}
    with contextlib.chdir(write_stream(tmp_path, examples=16, probes={"divergence": None}, strategies=strategies)):
        assert cli.main(["run", "toyexp.yaml"]) == 0
        runs = json.loads(Path("results/toyexp/results.json").read_text())["runs"]
    for run in runs:
        found = run["probes"]["divergence"]
        assert list(found) == ["0", "1", "2"]
        assert {value for of in found["0"].values() for value in of.values()} == {0.0}
        assert min(found["1"]["copy"].values()) > 0
        alone = run["strategy"] == "lora_alone"  # answers a task that is not learned by the base
        assert (found["1"]["which"]["forward_kl"] == 0.0) == alone
