"""Format alignment: after a task is learned, teach the form in which it is asked for with a few examples (Mix-CPT).

Jiang et al. 2024, arXiv 2407.10804, last part: score candidates with the model that was learned, keep a few, and align.
With L(y | x) the mean nats per token of y, x^ the question in the chat template and x- as plain text:

    ppl = L(answer | x^)    fas_response = L(answer | x^) / L(answer | x-)    fas_sample = L(x^ answer) / L(x- answer)
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from cl.errors import UserError
from cl.methods import lr_schedules
from cl.methods.lr_schedules import Phases
from cl.methods.method import Candidates, Method, Progress, Stage

Score = Literal["ppl", "fas_sample", "fas_response", "random"]


class Alignment(Method, ABC):
    """Add a stage of its phase after each stage that is evaluated; the next task goes on without it, as from a trunk.

    of: the general set; count: examples that are kept, None = all of the set; examples: that the stage trains in all,
    repetitions counted (None: each of `count` once); score, keep: which are kept: those with the `lowest` or `highest`
    score, or `random` ones; rate: factor on the peak learning rate, which warms up over the first tenth and falls to
    a tenth along half a cosine.
    Source: v1's "easy, perplexity-sorted" samples (lowest ppl) were read in a summary; later versions have a Format
    Alignment Score whose formula was not read: the ratio over the sample is a guess (0.4), over the response a
    reviewer's proposal. Numbers, rates and the number of passes are not known.
    """

    choice_settings: ClassVar[tuple[str, ...]] = ("of", "count", "score", "keep")

    def __init__(
        self,
        of: str,
        count: int | None = 64,
        examples: int | None = None,
        score: Score = "ppl",
        keep: Literal["lowest", "highest"] = "lowest",
        rate: float = 1.0,
    ) -> None:
        super().__init__()
        if count is None and examples is None:
            raise UserError("examples: is needed where count is empty: how many of all examples are trained")
        if any(number is not None and number < 1 for number in (count, examples)) or rate <= 0:
            raise UserError(f"count {count} and examples {examples} must be at least 1, rate {rate} above 0")
        self.of, self.count, self.score, self.keep, self.rate = of, count, score, keep, rate
        self.examples = examples or count or 0

    def check(self, others: Sequence[Method]) -> None:
        """Not where each task is tested with an adapter of its own: the aligned one would be tested in its row only."""
        if any(other.alone() for other in others):
            raise UserError(
                "adapters of life alone, and prompts, are kept as they were learned; leave one of the two out"
            )

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """Each evaluated stage hands its row of R to a stage that aligns it."""
        out: list[Stage] = []
        place: dict[int, int] = {}
        for index, stage in enumerate(stages):
            parent = None if stage.parent is None else place[stage.parent]
            place[index] = len(out)
            out.append(replace(stage, parent=parent))
            if stage.row is not None:
                out[-1] = replace(out[-1], row=None)
                name, tasks = f"{stage.name} {self.phase}", {self.of: 1.0}
                out.append(Stage(name, tasks, stage.t, self.examples, place[index], stage.row, phase=self.phase))
        return out

    def schedule(self, at: Progress) -> float:
        """Warm up and decay."""
        phases = Phases.cumulative(at.total, warmup=0.1)
        return lr_schedules.rewarm_cosine(at.step, phases, eta_max=self.rate, eta_min=self.rate / 10)

    def chosen(self) -> int | None:
        """`count`."""
        return self.count

    def choose(self, of: Candidates) -> list[int]:
        """The numbers of the examples with the lowest or highest score; equal ones in their stored order."""
        order: list[int] = scores(of, self.score).argsort(stable=True, descending=self.keep == "highest").tolist()
        return order[: self.count]


def scores(of: Candidates, score: Score) -> Tensor:
    """The score of each candidate, [n]."""
    if score == "ppl":
        return of.nll(templated=True, whole=False)
    if score == "random":
        return torch.rand(len(of), generator=torch.Generator().manual_seed(of.seed))
    whole = score == "fas_sample"
    return of.nll(templated=True, whole=whole) / of.nll(templated=False, whole=whole)
