"""The optimizer along any order: every update is recomputed exactly from gradients that an oracle supplies.

    theta_0 --position 0: batch order[0]--> theta_1 --position 1: batch order[1]--> ... theta_T

A position determines learning rate, bias correction, decay, clipping threshold and restarts of the optimizer. A batch
determines its gradient as a function of the parameters. So the moments follow the new order, which is decisive: with
moments frozen at those of another order, errors stay at 0.7 of the distance whatever the learning rate
(`cl.sample_order.fut`).

Shapes: S orders at once, T positions, P trained parameters, flat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from cl.errors import UserError

CLIP_EPSILON = 1e-6  # added to the norm, as in `torch.nn.utils.clip_grad_norm_`

Gradient = Callable[[int, Tensor, Tensor], Tensor]
"""Maps a position, the batch of each order at it [S] and the parameters [S, P] to gradients [S, P]."""


class Moments(NamedTuple):
    """State of an optimizer before the first position.

    Args:
        first: Adam's first moment [P].
        second: Adam's second moment [P].
        age: number of steps since the optimizer started.
    """

    first: Tensor
    second: Tensor
    age: int

    @staticmethod
    def of(optimizer: torch.optim.Optimizer, trained: Sequence[Tensor]) -> Moments | None:
        """The moments of a torch optimizer; None before its first step.

        Args:
            optimizer: Adam or AdamW.
            trained: the trained parameters, in the order of the flat vector.
        """
        states = [optimizer.state[p] for p in trained]
        if not all(states):
            return None
        first, second = (
            torch.cat([state[key].detach().reshape(-1).float().cpu() for state in states])
            for key in ("exp_avg", "exp_avg_sq")
        )
        return Moments(first, second, int(states[0]["step"]))


@dataclass(frozen=True)
class Update:
    """The optimizer step at each position, as torch's optimizers compute it.

    Args:
        kind: `adamw`, `adam` or `sgd`.
        rates: learning rate of each position, [T].
        restarts: whether the optimizer starts afresh at each position, [T].
        decay: weight decay of each parameter, [P]; of the weights for AdamW, in the gradient for Adam and SGD.
        factors: factor on the learning rate of each parameter, [P].
        clip: largest gradient norm.
        betas: decay rates of Adam's moments.
        eps: Adam's epsilon.
        momentum: momentum of SGD.
        before: optimizer state of the stage before the first position; used unless that position is a restart.
    """

    kind: Literal["adamw", "adam", "sgd"]
    rates: tuple[float, ...]
    restarts: tuple[bool, ...]
    decay: Tensor
    factors: Tensor
    clip: float = math.inf
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.0
    before: Moments | None = None

    def begin(self, theta_SP: Tensor) -> State:
        """The state of S orders before the first step, from parameters [S, P]."""
        zeros = torch.zeros_like(theta_SP)
        first, second, age = self.before or (zeros, zeros, 0)
        m, v = (each.expand_as(theta_SP).clone() for each in (first, second))
        return State(theta_SP.clone(), m, v, age, torch.zeros(len(theta_SP)))

    @staticmethod
    def of(
        optimizer: torch.optim.Optimizer,
        trained: Sequence[Tensor],
        rates: Sequence[float],
        restarts: Sequence[bool],
        clip: float,
    ) -> Update:
        """The update of a torch optimizer.

        Args:
            optimizer: AdamW, Adam or SGD with momentum.
            trained: the trained parameters, in the order of the flat vector.
            rates: learning rate of each position.
            restarts: whether the optimizer starts afresh at each position.
            clip: largest gradient norm.

        Raises:
            UserError: the optimizer or one of its options is not supported.
        """
        kinds: dict[type, Literal["adamw", "adam", "sgd"]] = {
            torch.optim.AdamW: "adamw",
            torch.optim.Adam: "adam",
            torch.optim.SGD: "sgd",
        }
        name = type(optimizer).__name__
        if type(optimizer) not in kinds:
            raise UserError(f"order: the update of {name} is not known; train with AdamW, Adam or SGD with momentum")
        kind, groups = kinds[type(optimizer)], optimizer.param_groups
        if refused := [key for key in ("amsgrad", "maximize", "nesterov", "dampening") if groups[0].get(key)]:
            raise UserError(f"order: {name} with {refused[0]} is not known; leave it out")
        first = {key: groups[0].get(key) for key in ("betas", "eps", "momentum")}
        if any(group.get(key) != first[key] for group in groups for key in first):
            raise UserError(f"order: groups of {name} differ in betas, eps or momentum; give all the same")
        given: dict[str, Any] = {key: value for key, value in first.items() if value is not None}
        decay, factors = (_by_parameter(groups, trained, *each) for each in (("weight_decay", 0.0), ("lr_factor", 1.0)))
        before = None if kind == "sgd" else Moments.of(optimizer, trained)
        return Update(kind, tuple(rates), tuple(restarts), decay, factors, clip, before=before, **given)


def _by_parameter(groups: Sequence[Mapping[str, Any]], trained: Sequence[Tensor], key: str, default: float) -> Tensor:
    """An option of the optimizer's groups for each scalar of the parameters, [P]."""
    values = {id(p): float(group.get(key, default)) for group in groups for p in group["params"]}
    return torch.cat([torch.full((p.numel(),), values[id(p)]) for p in trained])


@dataclass
class State:
    """State of S orders.

    Args:
        theta: parameters [S, P].
        first: first moments [S, P].
        second: second moments [S, P].
        age: steps since the optimizer started afresh.
        clipped: number of steps whose gradient was clipped, [S].
    """

    theta: Tensor
    first: Tensor
    second: Tensor
    age: int
    clipped: Tensor


def step(update: Update, state: State, position: int, gradient_SP: Tensor) -> None:
    """Advance a state by one optimizer step, in place. The gradient is overwritten.

    In place because a new tensor of [S, P] costs more than the arithmetic.

    Args:
        update: the optimizer.
        state: state of S orders.
        position: the position of the step.
        gradient_SP: gradient of each order, [S, P].
    """
    if update.restarts[position]:
        state.first.zero_()
        state.second.zero_()
        state.age = 0
    state.age += 1
    g = gradient_SP
    if math.isfinite(update.clip):
        shrink = update.clip / (g.norm(dim=1) + CLIP_EPSILON)
        state.clipped += shrink < 1
        g.mul_(shrink.clamp(max=1.0)[:, None])
    rate = update.rates[position]
    if update.kind == "adamw":
        state.theta.mul_(1 - rate * update.factors * update.decay)
    else:
        g.addcmul_(state.theta, update.decay)
    if update.kind == "sgd":
        state.first.mul_(update.momentum).add_(g)
        state.theta.addcmul_(state.first, update.factors, value=-rate)
        return
    beta1, beta2 = update.betas
    state.first.lerp_(g, 1 - beta1)
    state.second.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    root = state.second.sqrt().div_(math.sqrt(1 - beta2**state.age)).add_(update.eps).div_(update.factors)
    state.theta.addcdiv_(state.first, root, value=-rate / (1 - beta1**state.age))


def simulate(
    start_P: Tensor,
    orders_ST: Tensor,
    update: Update,
    gradient: Gradient,
    watch: Callable[[int, Tensor], None] = lambda position, theta: None,
) -> State:
    """The states at the ends of S orders.

    Args:
        start_P: common start.
        orders_ST: batch of each order at each position, [S, T].
        update: the optimizer.
        gradient: the oracle.
        watch: called with each position and the parameters [S, P] before it.
    """
    state = update.begin(start_P.expand(len(orders_ST), -1))
    for position in range(orders_ST.shape[1]):
        watch(position, state.theta)
        step(update, state, position, gradient(position, orders_ST[:, position], state.theta))
    return state


def position_weights(update: Update) -> list[float]:
    """Share w_s of the final displacement due to a gradient at position s, if Adam's scaling were constant.

        w_s = sum over t >= s of eta_t (1 - beta1) beta1^(t - s) / (1 - beta1^(t + 1))

    in units of the mean learning rate. For SGD, beta1 is the momentum and there is no bias correction. The last batches
    of a short run weigh little because momentum has not yet applied their gradients (momentum truncation); in short
    runs most of an apparent curriculum is this effect. Derived in this project, not published.
    """
    adam = update.kind != "sgd"
    beta = update.betas[0] if adam else update.momentum
    mean = sum(update.rates) / len(update.rates)
    starts = [max(s for s in range(t + 1) if update.restarts[s] or s == 0) for t in range(len(update.rates))]
    older = 0 if update.restarts[0] or update.before is None else update.before.age
    ages = [t - starts[t] + 1 + (0 if starts[t] else older) for t in range(len(update.rates))]
    return [
        sum(
            update.rates[t] / mean * beta ** (t - s) * ((1 - beta) / (1 - beta ** ages[t]) if adam else 1.0)
            for t in range(s, len(update.rates))
            if starts[t] <= s
        )
        for s in range(len(update.rates))
    ]
