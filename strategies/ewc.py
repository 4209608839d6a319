"""Elastic weight consolidation: hold parameters where they were, the stronger the more they mattered.

Kirkpatrick et al. 2017, arXiv 1612.00796, equation 3; online form: Schwarz et al. 2018 (Progress & Compress).

    L = task loss + weight / 2 * sum_k F_k (theta_k - theta*_k)^2
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from cl.errors import UserError
from cl.method import Learned, Method


def quadratic(theta: Tensor, anchor: Tensor, importance: Tensor) -> Tensor:
    """1/2 sum_k F_k (theta_k - theta*_k)^2."""
    return 0.5 * (importance * (theta - anchor).square()).sum()


class EWC(Method):
    """Penalise moving trained parameters away from earlier tasks' optima, weighted by the empirical Fisher diagonal.

    weight: lambda; mode: `online` keeps one F <- gamma F + F_t and the newest theta*, `offline` an F and a theta* per
    task; gamma: decay of the older F (online only); examples: rows of the task from which F is estimated, 0 = all.
    F_t is the mean over single rows of the squared gradient of the row's summed loss, at the end of the task and
    without the penalty. Needs parameters that live on from task to task: full fine-tuning, or `lora` with life
    `continue`; on fresh adapters theta* means nothing.
    weight is not portable: other code leaves out the 1/2 (Avalanche), squares the gradient of mini-batch means
    (then F is smaller by about the batch size), or estimates F while the penalty is in the gradient (TRACE, which also
    never resets it). Keeps between tasks: 2 copies of the trained parameters (online), 2 per task (offline).
    """

    memory_settings: ClassVar[tuple[str, ...]] = ("mode", "gamma", "examples")

    def __init__(
        self,
        weight: float = 100.0,
        mode: Literal["online", "offline"] = "online",
        gamma: float = 1.0,
        examples: int = 128,
    ) -> None:
        super().__init__()
        if weight < 0 or not 0 <= gamma <= 1 or examples < 0:
            raise UserError(f"weight {weight} and examples {examples} must be at least 0, gamma {gamma} in [0, 1]")
        self.weight, self.mode, self.gamma, self.examples = weight, mode, gamma, examples
        self.memory: dict[str, Tensor] = {}

    def active(self, t: int) -> bool:
        """Not at t = 1, where there is nothing to hold, and not with weight 0."""
        return t > 1 and self.weight > 0

    def warnings(self) -> list[str]:
        """Settings under which nothing is held."""
        return ["weight 0 is equivalent to plain fine-tuning"] if self.weight == 0 else []

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Take F and theta* by parameter."""
        self.memory = dict(memory)

    def prepare(self, model: Any, t: int) -> Any:
        """Pair parameters with what is remembered of them. Raises UserError where their names do not meet."""
        parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        held = {key: value for key, value in self.memory.items() if key.startswith("fisher")}
        if {key.partition("/")[2] for key in held} != parameters.keys():
            raise UserError("ewc: trains other parameters than the task before; use full fine-tuning or lora continue")
        self.terms = [
            (parameters[key.partition("/")[2]], self.memory[key.replace("fisher", "anchor", 1)], fisher)
            for key, fisher in held.items()
        ]
        return model

    def step_terms(self, model: Any, step: int) -> dict[str, Tensor]:
        """Weight times the sum of all quadratics."""
        device = model.device
        self.terms = [(theta, anchor.to(device), fisher.to(device)) for theta, anchor, fisher in self.terms]
        return {"ewc": self.weight * torch.stack([quadratic(*term) for term in self.terms]).sum()}

    def consolidate(self, learned: Learned) -> dict[str, Tensor]:
        """F and theta* after the task, together with the earlier ones as `mode` says."""
        parameters = {name: value for name, value in learned.model.named_parameters() if value.requires_grad}
        fisher = fisher_diagonal(learned, parameters, self.examples)
        anchors = {name: value.detach().clone() for name, value in parameters.items()}
        if self.mode == "offline":
            own = {f"fisher.{learned.t}/{name}": value for name, value in fisher.items()}
            return dict(learned.memory) | own | {f"anchor.{learned.t}/{name}": v for name, v in anchors.items()}
        for name, value in fisher.items():
            if f"fisher.all/{name}" in learned.memory:
                value += self.gamma * learned.memory[f"fisher.all/{name}"].to(value.device)
        return {f"fisher.all/{n}": v for n, v in fisher.items()} | {f"anchor.all/{n}": v for n, v in anchors.items()}


def fisher_diagonal(learned: Learned, parameters: Mapping[str, Tensor], examples: int) -> dict[str, Tensor]:
    """Mean over at most `examples` rows (0: all) of the squared gradient of each row's summed loss, by parameter."""
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    count = 0
    for batch in learned.batches(1):
        gradients = torch.autograd.grad(learned.loss(batch), list(parameters.values()))
        for accumulated, gradient in zip(total.values(), gradients, strict=True):
            accumulated += gradient.square()
        count += 1
        if count == examples:
            break
    return {name: value / count for name, value in total.items()}
