"""The benchmark for a GPU runs where there is none, so that it is ready when one is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_gpu_script_measures_every_kind_of_line(tmp_path: Path) -> None:
    chosen = ["--shapes=[tiny]", "--arms=[LoRA]", "--strategies=[finetune,sefe]", "--device=cpu", "--steps=6"]
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *chosen]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    plain, lora = (next(line for line in lines if line.startswith(f"tiny | {arm}")) for arm in ("plain loop", "LoRA"))
    assert float(plain.split(" | ")[2].replace(",", "")) > 0
    assert plain.split(" | ")[3] == "1.00"
    assert lora.split(" | ")[4] == "-"  # no share of the peak: most weights are not trained
    assert "R 0.0e+00   loss 0.0e+00   gradient 0.0e+00" in next(line for line in lines if line.startswith("finetune"))
    assert any(line.startswith("sefe") and "FAILED" not in line for line in lines)


def test_operations_of_a_token_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu  # type: ignore[import-not-found]

    shape = gpu.Shape(layers=2, width=8, heads=4, keys=2, inner=16, batch=1, micro=1, sequence=32)
    # attention: q and o 8 x 8, k and v 8 x 4; MLP: three 8 x 16
    weights = 2 * (2 * 64 + 2 * 32 + 3 * 128)
    assert gpu.operations(shape) == 6 * weights + 12 * 2 * 8 * 32
