"""Gradients and losses of single batches as functions of a parameter vector.

All gradients come from one code path: fp32, training mode, and a generator seeded by the batch. So a batch keeps its
dropout mask at every position, and its gradient g_b(theta) is a function of the parameters alone. As in the learner,
the loss of a step is nats over the learned tokens of the whole step, summed over micro-batches.

Hessian-vector products need double backward passes, which fused attention does not support (pytorch issues 116350,
181177), so they use the plain (math) implementation of attention.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parameters_to_vector

from cl.data.batches import Batch
from cl.errors import UserError
from cl.methods.edits_rows import EditsRows
from cl.methods.method import PlansStages, TakesRows, Trains, overrides
from cl.models import losses
from cl.models.forward import evaluating
from cl.training.learner import Learner

PLAIN = (
    Trains.token_terms,
    Trains.step_terms,
    Trains.after_backward,
    Trains.after_step,
    Trains.objective,
    Trains.survey,
)
"""Hooks that make a step depend on more than its batch; a method that overrides one of them is refused."""


class Stream:
    """T batches that learners may read in any order, and data sets whose loss is measured.

    Args:
        legs: the learners, which share one model, each with the number of positions (steps) that it trains.
        batches: the batches by number; each is used once.
        targets: rows of each measured set, by name of the set.
        kept: whether a leg continues with the optimizer state of the leg before it.
        seed: seed of dropout.
        before: optimizer tensors with which the first leg starts; None for a fresh optimizer.

    Raises:
        UserError: a method overrides a hook of PLAIN, so that its steps depend on earlier batches.
    """

    def __init__(
        self,
        legs: Sequence[tuple[Learner, int]],
        batches: Sequence[Batch],
        targets: Mapping[str, Sequence[Batch]],
        kept: bool = False,
        seed: int = 0,
        before: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.legs, self.batches, self.kept, self.seed = list(legs), list(batches), kept, seed
        self.before = before
        self.targets: Mapping[str, Sequence[Batch]] = targets
        assert sum(steps for _, steps in legs) == len(batches), "every batch has its position"
        self.learner = legs[0][0]
        for method in (method for learner, _ in legs for method in learner.methods):
            acts = [hook.__name__ for hook in PLAIN if overrides(method, hook)]
            acts += ["row_mask"] if isinstance(method, TakesRows) else []
            acts += ["replaced_rows"] if isinstance(method, EditsRows) else []
            acts += ["teaching"] if overrides(method, PlansStages.teaching) else []
            if acts:
                raise UserError(
                    f"order: {type(method).__name__} acts on more than a step's own batch ({acts[0]}); "
                    "order effects are estimated for plain training with schedules and LoRA"
                )
        self.trained = [p for p in self.learner.model.parameters() if p.requires_grad]
        self.device = str(self.trained[0].device)

    @property
    def size(self) -> int:
        """Number of trained parameters, P."""
        return sum(p.numel() for p in self.trained)

    def read(self) -> Tensor:
        """The trained parameters as one vector [P], on the CPU, in fp32."""
        return parameters_to_vector(self.trained).detach().float().cpu().clone()

    def write(self, theta_P: Tensor) -> None:
        """Set the trained parameters to the values of a vector [P].

        The values are copied: torch's `vector_to_parameters` would make the parameters views of the vector.
        """
        with torch.no_grad():
            for p, values in zip(self.trained, theta_P.split([p.numel() for p in self.trained]), strict=True):
                p.copy_(values.view_as(p))

    def gradient(self, batch: int, theta_P: Tensor, rows: int | None = None) -> tuple[float, Tensor]:
        """Mean loss of a batch at given parameters, and its gradient [P].

        Args:
            batch: number of the batch.
            theta_P: parameters.
            rows: use only the first so many rows of the batch; None for all rows.
        """
        self.write(theta_P)
        with self._as_trained(batch):
            return self._gradient(self.batches[batch].at(slice(0, rows)))

    def target_gradient(self, name: str, theta_P: Tensor) -> tuple[float, Tensor]:
        """Mean loss of a target at given parameters, and its gradient [P], in evaluation mode."""
        self.write(theta_P)
        parts = self.targets[name]
        count = sum(float(part.learned()) for part in parts)
        loss, total = 0.0, torch.zeros(self.size)
        with evaluating(self.learner.model):
            for part in parts:
                own, gradient = self._gradient(part, count)
                loss, total = loss + own, total + gradient
        return loss, total

    def _gradient(self, batch: Batch, count: float | None = None) -> tuple[float, Tensor]:
        """Loss and gradient of a batch at the model's current parameters; count: tokens to divide by."""
        count = float(batch.learned()) if count is None else count
        rows, total = self.learner.settings.micro_batch or len(batch.ids), torch.zeros((), device=self.device)
        for p in self.trained:
            p.grad = None
        for part in batch.to(self.device).split(rows):
            objective = self.learner.token_loss.total(part) / count
            objective.backward()
            total += objective.detach()
        found = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).detach().reshape(-1).float() for p in self.trained]
        )
        for p in self.trained:
            p.grad = None
        return float(total), found.cpu()

    def curvature(self, batch: int, theta_P: Tensor, direction_P: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of a batch at given parameters, and its Hessian times a direction, [P] each.

        Args:
            batch: number of the batch.
            theta_P: parameters.
            direction_P: the vector that the Hessian is multiplied with.
        """
        self.write(theta_P)
        part = self.batches[batch].to(self.device)
        with self._as_trained(batch), sdpa_kernel(SDPBackend.MATH):
            objective = self.learner.token_loss.total(part) / part.learned()
            first = torch.autograd.grad(objective, self.trained, create_graph=True)
            flat = torch.cat([g.reshape(-1) for g in first])
            second = torch.autograd.grad(flat @ direction_P.to(self.device), self.trained)
        return flat.detach().cpu(), torch.cat([g.reshape(-1) for g in second]).cpu()

    def nll(self, name: str, theta_P: Tensor) -> Tensor:
        """Nats per token of each row of a target at given parameters, [rows]."""
        self.write(theta_P)
        return self._rows(self.targets[name])

    def learned(self, batch: int, theta_P: Tensor) -> float:
        """Nats per token of a training batch at given parameters, in evaluation mode."""
        self.write(theta_P)
        total, tokens = self._sums([self.batches[batch]])
        return float(total.sum() / tokens.sum())

    def loss(self, name: str, theta_P: Tensor) -> float:
        """Nats per token of a target at given parameters."""
        self.write(theta_P)
        total, tokens = self._sums(self.targets[name])
        return float(total.sum() / tokens.sum())

    def _rows(self, parts: Sequence[Batch]) -> Tensor:
        """Nats per token of each row of the batches, [rows]."""
        total, tokens = self._sums(parts)
        return total / tokens

    def _sums(self, parts: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Summed nats and number of learned tokens of each row, in fp64."""
        totals, tokens = [], []
        with torch.no_grad(), evaluating(self.learner.model):
            for part in parts:
                part = part.to(self.device)
                learned = part.learned_by_row()
                totals.append(losses.row_nll(self.learner.token_loss.outputs(part), learned).double().cpu())
                tokens.append(learned.double().cpu())
        return torch.cat(totals), torch.cat(tokens)

    @contextmanager
    def _as_trained(self, batch: int) -> Iterator[None]:
        """Training mode with the batch's own dropout mask; restores mode and generators afterwards."""
        training = self.learner.model.training
        self.learner.model.train()
        with torch.random.fork_rng(enabled=True):
            torch.manual_seed(batch_seed(self.seed, batch))
            try:
                yield
            finally:
                self.learner.model.train(training)


def batch_seed(seed: int, batch: int) -> int:
    """Seed of the random generators while a batch is learned."""
    return (seed * 1_000_003 + batch) % 2**63
