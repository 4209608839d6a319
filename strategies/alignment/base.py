"""Format alignment: after a task is learned, teach the form of the answers with a few examples (Mix-CPT).

Jiang et al. 2024, arXiv 2407.10804, last part: score candidates with the model that was learned, keep a few, and align.
With L(y | x) the mean nats per token of y, x^ the question in the chat template and x- as plain text:

    ppl = L(answer | x^)    fas_response = L(answer | x^) / L(answer | x-)    fas_sample = L(x^ answer) / L(x- answer)
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from cl.errors import UserError
from cl.methods import lr_schedules
from cl.methods.lr_schedules import Phases
from cl.methods.method import Candidates, Method, PlansStages, Progress, Selects, Stage, Trains

if TYPE_CHECKING:
    from torch import Tensor

Score = Literal["ppl", "fas_sample", "fas_response", "random"]


@dataclass(eq=False)
class Alignment(PlansStages, Selects, Trains, ABC):
    """Add a stage of its own phase after each evaluated stage; the next task continues without it, as from a trunk.

    Args:
        of: the general set.
        count: examples of the set that are kept. None: all.
        examples: examples that the stage trains in all, repetitions counted. None: each of `count` once.
        score: how candidates are scored: `ppl`, `fas_sample`, `fas_response` or `random`.
        keep: keep the candidates with the `lowest` or the `highest` score.
        rate: factor on the peak learning rate.

    The learning rate warms up over the first tenth of the stage and falls to a tenth along half a cosine.

    Source: v1's "easy, perplexity-sorted" samples (lowest ppl) were read in a summary. Later versions have a Format
    Alignment Score whose formula was not read: the ratio over the sample is a guess (0.4), the ratio over the response
    is a reviewer's proposal. The paper's number of examples, rates and number of passes are not known.
    """

    selection_settings: ClassVar[tuple[str, ...]] = ("of", "count", "score", "keep")

    of: str
    count: int | None = 64
    examples: int | None = None
    score: Score = "ppl"
    keep: Literal["lowest", "highest"] = "lowest"
    rate: float = 1.0

    def __post_init__(self) -> None:
        if self.count is None and self.examples is None:
            raise UserError("examples: is needed where count is empty: how many of all examples are trained")
        if any(number is not None and number < 1 for number in (self.count, self.examples)) or self.rate <= 0:
            wrong = f"count {self.count} and examples {self.examples} must be at least 1, rate {self.rate} above 0"
            raise UserError(wrong)

    @property
    def trained(self) -> int:
        """Examples that a stage trains in all, repetitions counted."""
        return self.examples or self.count or 0

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Refuse an adapter per task: the aligned adapter would be tested in its own row only."""
        if any(other.adapter == "per_task" for other in others):
            raise UserError(
                "adapters of life alone, and prompts, are kept as they were learned; leave one of the two out"
            )
        return []

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """Add a stage that aligns each evaluated stage, and takes over its row of R."""
        out: list[Stage] = []
        place: dict[int, int] = {}
        for index, stage in enumerate(stages):
            parent = None if stage.parent is None else place[stage.parent]
            place[index] = len(out)
            out.append(replace(stage, parent=parent))
            if stage.row is not None:
                out[-1] = replace(out[-1], row=None)
                name, tasks = f"{stage.name} {self.phase}", {self.of: 1.0}
                out.append(Stage(name, tasks, stage.t, self.trained, place[index], stage.row, phase=self.phase))
        return out

    def schedule(self, at: Progress) -> float:
        """Return the factor: a warm-up and a decay."""
        phases = Phases.cumulative(at.total, warmup=0.1)
        return lr_schedules.rewarm_cosine(at.step, phases, eta_max=self.rate, eta_min=self.rate / 10)

    def selection_size(self) -> int | None:
        """Select `count` examples."""
        return self.count

    def select(self, of: Candidates) -> list[int]:
        """Return the numbers of the examples with the lowest or highest score; equal ones in their stored order."""
        order: list[int] = scores(of, self.score).argsort(stable=True, descending=self.keep == "highest").tolist()
        return order[: self.count]


def scores(of: Candidates, score: Score) -> Tensor:
    """Score of each candidate, [n]."""
    import torch

    if score == "ppl":
        return of.nll(templated=True, whole=False)
    if score == "random":
        return torch.rand(len(of), generator=torch.Generator().manual_seed(of.seed))
    whole = score == "fas_sample"
    return of.nll(templated=True, whole=whole) / of.nll(templated=False, whole=whole)
