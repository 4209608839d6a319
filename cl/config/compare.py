"""Settings of `cl compare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cl.errors import UserError
from cl.plain_values import require_between

MOST_RESAMPLES = 10_000_000
"""More change no digit of an interval that is printed."""


@dataclass(frozen=True)
class Compare:
    """Tests of `cl compare`, declared in the experiment before results are known; `cl run` ignores these settings.

    Args:
        metrics: keys of the tested metrics; by default the mean over tasks after the last stage (`op_final` for strict
            scores, `op_final_nll` for losses). Each pair of strategies with each metric is one test of the family.
        pairs: pairs of strategies: `baseline` (each strategy against `baseline`), `all`, or a list of pairs of labels.
        baseline: label of the strategy that all other strategies are compared with; by default the first strategy.
        unit: paired unit: `run` (one seed in one task order), `seed` (mean over orders) or `order` (mean over seeds).
        alpha: largest adjusted p-value that counts as a difference.
        level: confidence level of the bootstrap intervals.
        resamples: number of bootstrap resamples.
        skip: number of leading tasks that all metrics leave out, because hyperparameters were chosen on them.
        items: also test pairs on this score of single answers (`strict`, `normalised` or `format_ok`). Such a test
            supports a claim about these checkpoints only; use it if there are too few runs for a claim about runs.
    """

    metrics: list[str] | None = None
    pairs: Literal["baseline", "all"] | list[tuple[str, str]] = "baseline"
    baseline: str | None = None
    unit: Literal["run", "seed", "order"] = "run"
    alpha: float = 0.05
    level: float = 0.95
    resamples: int = 10_000
    skip: int = 0
    items: Literal["strict", "normalised", "format_ok"] | None = None

    def __post_init__(self) -> None:
        for name in ("alpha", "level"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"compare.{name}: {getattr(self, name)} must be between 0 and 1")
        if self.resamples < 100 or self.skip < 0:
            raise UserError(f"compare: resamples {self.resamples} must be at least 100, skip {self.skip} at least 0")
        require_between(self, "compare", resamples=(100, MOST_RESAMPLES))
        if self.metrics == [] or self.pairs == []:
            raise UserError("compare: metrics and pairs must not be empty lists; leave them out for the defaults")
