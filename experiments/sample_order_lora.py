"""Quality of ranking batch orders for a pretrained model's adapter, at two learning rates (arXiv 2505.22042).

    python experiments/sample_order_lora.py [--KEY=VALUE …]

Like sample_order.py, for experiments/sample_order_lora.yaml: writes results/sample_order_lora/table.md and signals.md.
"""

from __future__ import annotations

from pathlib import Path

import script
from sample_order import Answers, signals, table, validate

from cl.config import loading

RATES = ("3e-4", "1e-3")


def main(settings: list[str]) -> None:
    """Validate at every rate, write the tables and print them."""
    path = str(Path(__file__).with_suffix(".yaml"))
    chosen = loading.load(path, settings)
    found: Answers = {f"LoRA, {rate}": validate(path, [*settings, f"--train.lr={rate}"], rate) for rate in RATES}
    folder = Path(chosen.output) / chosen.name
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"table.md": table(found), "signals.md": signals(found)}.items():
        (folder / name).write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    script.run(main)
