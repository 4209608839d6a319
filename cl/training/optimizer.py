"""The optimizers of training: AdamW, and those that `train.optimizer` names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cl.config.train import Optimization
from cl.errors import UserError
from cl.training.stochastic_rounding import StochasticAdamW

Groups = list[dict[str, Any]]


def build_optimizer(model: nn.Module, train: Optimization) -> torch.optim.Optimizer:
    """The optimizer of a model's trained parameters, with weight decay on tensors of two or more dimensions only.

    A parameter's attributes `lr_factor`, which multiplies the rate, and `weight_decay`, which replaces that of the
    experiment, are set by methods.

    Raises:
        UserError: if the package of the optimizer is not installed.
    """
    return BUILD[train.optimizer or "adamw"](model, train)


def _groups(train: Optimization, model: nn.Module, parameters: Iterable[nn.Parameter] | None = None) -> Groups:
    """Groups of equal rate and decay of a model's parameters, or of some of them."""
    ends = set() if train.embedding_lr is None else {id(end.weight) for end in _ends(model)}
    trained: dict[tuple[float, float], list[nn.Parameter]] = {(1.0, train.weight_decay): []}
    for p in model.parameters() if parameters is None else parameters:
        if p.requires_grad:
            rate = (train.embedding_lr or 1.0) if id(p) in ends else 1.0
            key = rate * getattr(p, "lr_factor", 1.0), getattr(p, "weight_decay", train.weight_decay)
            trained.setdefault(key, []).append(p)
    return [
        {"params": [p for p in own if (p.ndim >= 2) == matrices], "weight_decay": decay, "lr_factor": factor}
        for (factor, whole), own in trained.items()
        for matrices, decay in ((True, whole), (False, 0.0))
    ]


def _adamw(model: nn.Module, train: Optimization) -> torch.optim.Optimizer:
    """AdamW (arXiv 2403.08763, section 3); parameters in bf16 are rounded at random."""
    narrow = [p for p in model.parameters() if p.requires_grad and p.dtype == torch.bfloat16]
    inside = set(map(id, narrow))
    whole = _groups(train, model, [p for p in model.parameters() if id(p) not in inside])
    found = torch.optim.AdamW(whole, lr=train.lr, betas=train.betas, eps=train.eps, fused=True)
    if not narrow:
        return found
    return Composed(found, StochasticAdamW(_groups(train, model, narrow), train.lr, train.betas, train.eps))


def _sgd(model: nn.Module, train: Optimization) -> torch.optim.Optimizer:
    """SGD with the first beta as momentum; its decay is part of the gradient."""
    return torch.optim.SGD(_groups(train, model), lr=train.lr, momentum=train.betas[0])


def _muon(model: nn.Module, train: Optimization) -> torch.optim.Optimizer:
    """Muon on the matrices inside the layers, AdamW on embeddings, output layer and everything else.

    Muon (K. Jordan 2024) as torch implements it, with momentum 0.95 and updates scaled to the size of AdamW's
    (Moonlight, arXiv 2502.16982: 0.2 sqrt(max(rows, columns))), so that one rate and one decay hold for both.
    """
    ends = {id(end.weight) for end in _ends(model)}
    hidden = [p for p in model.parameters() if p.ndim == 2 and id(p) not in ends]
    inside = set(map(id, hidden))
    rest = [p for p in model.parameters() if id(p) not in inside]
    muon = torch.optim.Muon(_groups(train, model, hidden), lr=train.lr, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(_groups(train, model, rest), lr=train.lr, betas=train.betas, eps=train.eps, fused=True)
    return Composed(muon, adamw)


def _ends(model: Any) -> list[Any]:
    """Input embeddings and output layer."""
    return [end for end in (model.get_input_embeddings(), model.get_output_embeddings()) if end is not None]


def _adamw_8bit(model: nn.Module, train: Optimization) -> torch.optim.Optimizer:
    """AdamW with moments of 8 bits in blocks of 256 (Dettmers et al. 2021, arXiv 2110.02861), by bitsandbytes.

    Tensors of less than 4,096 values keep moments of 32 bits, as is the library's default.
    """
    try:
        from bitsandbytes.optim.adamw import AdamW8bit
    except ImportError as error:
        raise UserError("train.optimizer: adamw_8bit needs bitsandbytes; pip install 'cl[quant]'") from error
    make: Any = AdamW8bit
    found: torch.optim.Optimizer = make(_groups(train, model), lr=train.lr, betas=train.betas, eps=train.eps)
    return found


def _schedule_free(model: nn.Module, train: Optimization) -> torch.optim.Optimizer:
    """Schedule-free AdamW (Defazio et al. 2024, arXiv 2405.15682), by schedulefree.

    Its warm-up is the schedule's of the strategy. States are stored and measured at the average of the iterates.
    """
    try:
        from schedulefree import AdamWScheduleFree
    except ImportError as error:
        raise UserError("train.optimizer: schedule_free needs schedulefree; pip install 'cl[optimizers]'") from error
    found: torch.optim.Optimizer = AdamWScheduleFree(
        _groups(train, model), lr=train.lr, betas=train.betas, eps=train.eps
    )
    found.train()  # type: ignore[attr-defined]
    return found


BUILD: Mapping[str, Callable[[nn.Module, Optimization], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adamw_8bit": _adamw_8bit,
    "muon": _muon,
    "schedule_free": _schedule_free,
    "sgd": _sgd,
}
SHARED = ("qmap1", "qmap2")
"""Tables of 8-bit moments, which parameters share and a file cannot."""
RUNNING = ("k", "weight_sum", "lr_max")
"""Entries of schedule-free groups that change with each step, and so belong to the state."""


class Composed(torch.optim.Optimizer):
    """Several optimizers as one; each updates its own groups.

    Args:
        parts: the optimizers.
    """

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Let the parts read the groups and the state of the whole."""
        groups = iter(self.param_groups)
        for part in self.parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            part.state = self.state

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Let each part do a step."""
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: Any) -> None:
        """Load the state of all parts."""
        super().load_state_dict(state_dict)
        self._share()


@contextmanager
def measured(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Context in which the parameters are those that are measured and stored: of schedule-free their average.

    Afterwards the parameters have the bits they had: how often a stage is measured must not change it.
    """
    if not hasattr(optimizer, "eval"):
        yield
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    kept = [p.detach().clone() for p in parameters]
    optimizer.eval()
    try:
        yield
    finally:
        optimizer.train()  # type: ignore[attr-defined]
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)


def tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State as tensors named `PARAMETER_INDEX/NAME`, and what changes in groups as `group.INDEX/NAME`.

    Other entries of groups are settings and are not stored.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]  # state_dict() of some nests
    found = {
        f"{index}/{name}": value if isinstance(value, Tensor) and name not in SHARED else torch.as_tensor(value).clone()
        for index, parameter in enumerate(parameters)
        for name, value in optimizer.state.get(parameter, {}).items()
    }
    running = ((place, name, group) for place, group in enumerate(optimizer.param_groups) for name in RUNNING)
    return found | {
        f"group.{place}/{name}": torch.tensor(float(group[name]), dtype=torch.float64)
        for place, name, group in running
        if name in group
    }


def load(optimizer: torch.optim.Optimizer, found: Mapping[str, Tensor]) -> None:
    """Inverse of `tensors`, for an optimizer over the same parameters."""
    groups = optimizer.state_dict()["param_groups"]
    state: dict[int, dict[str, Any]] = {}
    for key, value in found.items():
        index, name = key.split("/")
        if index.startswith("group."):
            group = groups[int(index.removeprefix("group."))]
            group[name] = type(group[name])(value.item())
        else:
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    _keep_moments_in_fp32(optimizer, state)
    if (optimizer.__module__ or "").startswith("bitsandbytes"):  # counts steps in whole numbers
        for values in optimizer.state.values():
            values["step"] = int(values["step"])


def _keep_moments_in_fp32(optimizer: torch.optim.Optimizer, state: Mapping[int, Mapping[str, Any]]) -> None:
    """Set the state of bf16 parameters again: loading has rounded their moments to the parameter's type."""
    parameters: list[nn.Parameter] = [p for group in optimizer.param_groups for p in group["params"]]
    for place, parameter in enumerate(parameters):
        if parameter.dtype == torch.bfloat16 and place in state:
            moved = {name: value.to(parameter.device) for name, value in state[place].items() if name != "step"}
            optimizer.state[parameter] |= moved
