"""Teachers of a stage: a second model, the trained model without its adapters, or a cache of stored predictions.

A teacher runs in evaluation mode and without a graph, on the same rows, masks and positions as the trained model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn

from cl.data.batches import Batch
from cl.data.sampling import Reading
from cl.errors import UserError
from cl.graph.roles import BASE, Inputs, Role
from cl.methods.method import Teaching
from cl.models import adapters, distillation, lora_experts
from cl.models.distillation import Sampled, Teacher
from cl.models.forward import TokenLoss, evaluating
from cl.models.losses import Outputs

FILE = "teacher.safetensors"  # of a teacher node: see cl.steps.teacher
Says = Callable[[Batch], Teacher]


class Setting(NamedTuple):
    """The stage in which a model teaches.

    Args:
        t: 1-based stage.
        device: `cpu` or `cuda`.
        precision: `fp32` or `bf16`.
        readings: readings that the first column of a batch's `origin` indexes.
    """

    t: int
    device: str
    precision: str
    readings: Sequence[Reading]


def opened(state: Path, base: Path | None, device: str) -> Any:
    """Open a stored model for inference, with its adapters merged into the weights if possible.

    Args:
        state: folder of the model or of its adapters.
        base: folder of the base model, if `state` holds adapters.
        device: `cpu` or `cuda`.
    """
    found = adapters.load(state, base)
    found = adapters.merged(found) if adapters.mergeable(found) else found
    return found.to(device).eval().requires_grad_(False)


def opening(teaching: Teaching, place: int, inputs: Inputs, loss: TokenLoss, stage: Setting) -> Says:
    """Open a method's teacher.

    Args:
        teaching: which teacher, and how its predictions are obtained.
        place: index of the method in the node's list.
        inputs: folders of the train node's parents.
        loss: loss of the trained model.
        stage: the stage.

    Returns:
        A function from a batch to the teacher's predictions on its learned tokens.

    Raises:
        UserError: if disabling the adapters does not recover the requested teacher.
    """
    if teaching.mode == "adapter_off":
        check_adapter_off(loss.model, teaching, stage.t)
        return lambda batch: distillation.Model(_without_adapters(loss, batch))
    if not teaching.cached:
        model = opened(inputs[Role("teacher", place)], inputs.get(BASE), stage.device)
        own = TokenLoss(_light(model, stage.precision), loss.separator, loss.boundaries, loss.kernel, loss.width)
        head = _head(model, own, stage.precision)

        def speak(batch: Batch) -> Teacher:
            with torch.no_grad():
                found = own.outputs(batch)
            return distillation.Model(found if head is None else found._replace(weight=head))

        return speak
    own_roles = ((role, path) for role, path in inputs.items() if (role.kind, role.place) == ("teacher", place))
    folders = {role.name: path for role, path in own_roles if role.name is not None}
    head = None
    if teaching.mode == "cache_hidden":
        model = opened(inputs[Role("teacher", place)], inputs.get(BASE), stage.device)
        head = _head(model, loss, stage.precision)
    return Cache(folders, stage.readings, head, stage.device)


def _light(model: Any, precision: str) -> Any:
    """Store matrices as bf16 if bf16 autocast rounds them anyway; embeddings and output layer stay as they are."""
    if precision == "bf16":
        head = model.get_output_embeddings()
        for module in model.modules():
            if isinstance(module, nn.Linear) and module is not head:
                module.weight.data = module.weight.data.bfloat16()
    return model


def _head(model: Any, loss: TokenLoss, precision: str) -> Tensor | None:
    """The output layer's weight in the precision of its use. None: logits are not a plain layer of hidden states."""
    if not loss.splits:
        return None
    weight: Tensor = model.get_output_embeddings().weight.detach()
    return weight.bfloat16() if precision == "bf16" else weight


def _without_adapters(loss: TokenLoss, batch: Batch) -> Outputs:
    """Outputs of the model with its adapters disabled."""
    learns = [(parameter, parameter.requires_grad) for parameter in loss.model.parameters()]
    try:
        with torch.no_grad(), evaluating(loss.model), loss.model.disable_adapter():
            return loss.outputs(batch)
    finally:  # peft makes every adapter trainable when it enables it again, frozen adapters too
        for parameter, before in learns:
            parameter.requires_grad_(before)


def check_adapter_off(model: Any, teaching: Teaching, t: int) -> None:
    """Check that the model with its adapters disabled is the requested teacher.

    Args:
        model: the trained model.
        teaching: the requested teacher.
        t: 1-based stage.

    Raises:
        UserError: if disabling the adapters does not recover the requested teacher.
    """
    uses = adapters.uses(model)
    acting = [name for name, use in uses.items() if use in ("trained", "frozen")]
    if not acting or adapters.prompt(model) is not None or lora_experts.present(model):
        why = "there are no low-rank adapters to switch off"
    elif any(model.peft_config[name].bias != "none" for name in acting):
        why = "the adapters train biases of the model itself"
    elif any(p.requires_grad and not any(f".{name}." in key for name in acting) for key, p in model.named_parameters()):
        why = "weights outside the adapters are trained"
    elif teaching.of == "base" and "merged" in uses.values():
        why = "earlier adapters are merged into the weights, so it is the previous model"
    elif teaching.of == "previous" and t > 1 and acting != [f"t{t}"]:
        why = "earlier tasks are in its adapters, so it is the base model"
    else:
        return
    raise UserError(f"mode: adapter_off is not the {teaching.of} model: {why}; use frozen_copy or a cache")


class Cache:
    """A teacher's stored predictions (`cl.steps.teacher`), read row by row.

    Args:
        folders: teacher nodes by data set.
        readings: readings that the first column of a batch's `origin` indexes.
        head: weight of the teacher's output layer, for stored hidden states.
        device: device of the predictions.
    """

    def __init__(self, folders: Mapping[str, Path], readings: Sequence[Reading], head: Tensor | None, device: str):
        self.readings, self.head, self.device = readings, head, device
        self.files: dict[str, Any] = {
            name: safe_open(str(path / FILE), framework="pt") for name, path in folders.items()
        }
        self.rows = {name: file.get_tensor("rows") for name, file in self.files.items()}
        self.starts = {name: file.get_tensor("starts").tolist() for name, file in self.files.items()}

    def __call__(self, batch: Batch) -> Teacher:
        """Predictions on the learned tokens of a batch."""
        assert batch.origin is not None, "a cache is looked up by where a row comes from"
        found = [self._row(self.readings[reading].source, row) for reading, row in batch.origin.tolist()]
        joined = {key: torch.cat([part[key] for part in found]).to(self.device) for key in found[0]}
        if "hidden" in joined:
            assert self.head is not None
            values = joined["hidden"].to(self.head.dtype)
            return distillation.Model(Outputs(values, self.head, torch.empty(0)))
        ids, first = joined["ids"].long(), joined["first"].long()
        weights = joined.get("weights", torch.full(ids.shape, 1 / ids.shape[-1], device=ids.device))
        return Said(Sampled(ids, weights, joined["entropy"], first, joined["log_p_first"], joined["log_p_gold"]))

    def _row(self, source: str, row: int) -> dict[str, Tensor]:
        rows, file = self.rows[source], self.files[source]
        place = int(torch.searchsorted(rows, row))
        assert rows[place : place + 1].tolist() == [row], f"row {row} of {source} is not in the teacher's cache"
        part = slice(self.starts[source][place], self.starts[source][place + 1])
        return {key: file.get_slice(key)[part] for key in file.keys() if key not in ("rows", "starts")}  # noqa: SIM118


class Said(NamedTuple):
    """A teacher with a stored sample of its distribution at each token."""

    kept: Sampled

    def says(self, tokens: slice | Tensor, temperature: float) -> Sampled:
        """Return the sample at some tokens. The temperature is that of the stored sample."""
        return Sampled(*(value[tokens] for value in self.kept))
