"""Settings of `cl compare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cl.errors import UserError


@dataclass(frozen=True)
class Compare:
    """What `cl compare` tests. Declared in the experiment, before its results are known; `cl run` does not read it.

    Args:
        metrics: keys of metrics that are tested; by default the mean over tasks after the last one (`op_final` of
            strict scores, `op_final_nll` of losses). Every pair times every metric is one test of the family.
        pairs: `baseline` (each strategy against `baseline`), `all`, or a list of pairs of labels.
        baseline: label of the strategy that the others are held against; by default the first.
        unit: what is paired: `run` (one seed in one task order), `seed` (mean over orders) or `order` (over seeds).
        alpha: largest adjusted p that is called a difference.
        level: of the bootstrap intervals.
        resamples: of the bootstrap.
        skip: leading tasks that no metric counts, because hyperparameters were chosen on them.
        items: score of single answers by which the pairs are tested as well (`strict`, `normalised` or `format_ok`): a
            claim about these checkpoints alone, where runs are too few for one about runs.
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
        if self.metrics == [] or self.pairs == []:
            raise UserError("compare: metrics and pairs must name something; leave them out for the defaults")
