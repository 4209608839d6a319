"""The learner: a LightningModule that holds the model and the strategy's methods.

One Lightning batch is one optimizer step: `training_step` sums the loss over micro-batches in nats, divides by the
tokens of the whole step, adds the methods' terms, clips and updates. Therefore

- accumulation and micro-batch size do not change the loss;
- the learner counts steps itself;
- gradient clipping works with fused AdamW under mixed precision (Lightning's own clipping refuses this pair).

Rows that a method takes are left out of the task loss and passed to the method's `step_terms`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn

from cl.config.train import Optimization
from cl.data.batches import Batch
from cl.data.sampling import Reading
from cl.errors import UserError
from cl.methods.checks import check_devices
from cl.methods.method import Method, MicroBatch, Progress, Step, TakesRows, Trains, overrides
from cl.models import adapters, backbone, decoding, losses, sharding
from cl.models.attention import Kernel
from cl.models.distillation import Teacher
from cl.models.forward import TokenLoss, evaluating
from cl.models.losses import Outputs
from cl.training import distributed
from cl.training.objective import objective_of
from cl.training.optimizer import build_optimizer

TASK = ""  # name of the task loss among the parts of a step's loss
T = TypeVar("T")


class Learner(pl.LightningModule):
    """Trains a causal language model on packed rows with a strategy's methods.

    An ordinary LightningModule: it also trains in a plain `Trainer.fit` with a loader that yields one
    `cl.data.batches.Batch` per optimizer step.

    Args:
        model: transformers causal language model.
        train: settings of the optimizer and of the rows.
        methods: methods in order.
        separator: token id that starts a document.
        total: optimizer steps of the whole stage, for schedules.
        start: optimizer steps of the stage done before.
        t: 1-based stage.
        readings: readings that the first column of a batch's `origin` indexes.
        compiled: use torch.compile.
        attention: kernel that computes attention (`cl.models.attention`). None: SDPA.

    Attributes:
        teachers: maps a method's index to its teacher's prediction function.
        last: record of the last step as tensors: loss (None if no row is left for the task loss), terms, grad_norm, lr.
    """

    def __init__(
        self,
        model: Any,
        train: Optimization,
        methods: Sequence[Trains] = (),
        *,
        separator: int,
        total: int,
        start: int = 0,
        t: int = 1,
        readings: Sequence[Reading] = (),
        compiled: bool = False,
        attention: Kernel | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.settings, self.methods = model, train, list(methods)
        self.total, self.step, self.t, self.readings = total, start, t, readings
        self.compiled = compiled
        self.teachers: dict[int, Callable[[Batch], Teacher]] = {}
        # What methods set on parameters (rate, decay): sharding replaces the parameters.
        self.own = {name: dict(found) for name, value in model.named_parameters() if (found := vars(value))}
        width = train.sequence if train.packing else None
        self.token_loss = TokenLoss(model, separator, train.boundaries, attention, width)
        _check_context(model, train.sequence)
        if train.packing and self.token_loss.backbone.isolation == "documents":  # of the hub: planning reads no model
            family = model.config.model_type
            raise UserError(f"train.packing: {family} reads each document as a row of its own; set it to false")
        self.objective = objective_of(self.methods)
        # If False, the summed cross-entropy of a micro-batch is enough.
        self.needs_outputs = bool(self.objective.name) or any(overrides(m, Trains.token_terms) for m in self.methods)
        self._loss: Callable[[Batch], Tensor] = self.token_loss.total
        self._outputs: Callable[[Batch], Outputs] = self.token_loss.outputs
        if compiled:
            # documents in groups, or examples in packed rows, have another shape in each batch
            varies = train.packing or self.token_loss.backbone.isolation == "documents"
            dynamic = None if varies else False
            self._loss = torch.compile(self._loss, dynamic=dynamic)
            self._outputs = torch.compile(self._outputs, dynamic=dynamic)
        self.seed = torch.initial_seed()
        self.last: dict[str, Any] = {}
        if train.gradient_checkpointing:
            # renamed in transformers 5, where the old name warns
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()

    def configure_model(self) -> None:
        """Shard the model if the Trainer's strategy has a device mesh (FSDP).

        Raises:
            UserError: for a method that cannot train with several processes.
        """
        if distributed.world() > 1:
            check_devices(self.methods, sharded=self.device_mesh is not None)
        if self.device_mesh is None:
            return
        distributed.shard(self.token_loss, self.device_mesh["data_parallel"])
        self._outputs = self.token_loss.outputs

    def on_fit_start(self) -> None:
        """Switch to training mode: transformers loads models in evaluation mode, and Lightning keeps that mode."""
        self.train()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer of the settings, with weight decay on matrices only."""
        for name, parameter in self.model.named_parameters():
            vars(parameter).update(self.own.get(name, {}))
        return build_optimizer(self.model, self.settings)

    def learning_rate(self, step: int) -> float:
        """Peak rate times the factor of the first method with a schedule; the peak rate if no method has one."""
        for method in self.methods:
            factor = method.schedule(Progress(step, self.total, self.t))
            if factor is not None:
                return self.settings.lr * factor
        return self.settings.lr

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """Run one optimizer step and store its record in `last`."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        rate = self.learning_rate(self.step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)  # multiplied, never overwritten
        optimizer.zero_grad(set_to_none=True)
        if (world := distributed.world()) > 1:  # dropout differs by process and is equal after a resumption
            torch.manual_seed(((self.seed * 1_000_003 + self.step) * world + distributed.rank()) % 2**63)
        own, taken = self._divide(batch)
        loss, terms = self._accumulate(own) if len(own.ids) else (None, {})
        terms |= self._per_step(taken)
        norm = nn.utils.clip_grad_norm_([p for p in self.parameters() if p.requires_grad], self.settings.clip)
        norm = sharding.whole(norm)
        optimizer.step()
        if any(overrides(method, Trains.after_step) for method in self.methods):
            self._after_step(taken)
        self.step += 1
        self.last = {"loss": loss, "terms": terms, "grad_norm": norm, "lr": rate}

    def _step(self, taken: Batch | None) -> Step:
        """The argument of the methods' step hooks; its forward passes have the precision of the training."""
        device = self.model.device.type
        as_trained = partial(
            torch.autocast, device, torch.get_autocast_dtype(device), enabled=torch.is_autocast_enabled(device)
        )

        def outputs(batch: Batch) -> Outputs:
            with as_trained():
                return self.token_loss.outputs(batch)

        def loss(batch: Batch) -> Tensor:
            with as_trained():
                return self.token_loss.total(batch)

        def rollouts(questions: Sequence[Tensor], limit: int, end: int) -> list[list[int]]:
            with as_trained(), evaluating(self.model), torch.no_grad():
                prompt, reader = adapters.prompt(self.model), adapters.reader(self.model)
                separator = self.token_loss.separator
                return decoding.answers(reader, questions, limit, len(questions), [end], separator, prompt)

        return Step(self.model, self.step, taken, self.readings, outputs, loss, rollouts)

    def _per_step(self, taken: Batch | None) -> dict[str, Tensor]:
        """Add the gradients of the methods' step terms, and call `after_backward`, in fp32.

        Returns:
            The terms by name; with several processes, each process's share.
        """
        at = self._step(taken)
        with torch.autocast(self.model.device.type, enabled=False):  # bf16 would round small sums of products away
            penalties = _named((method, method.step_terms(at)) for method in self.methods)
            if penalties:
                with self._unsynchronised():  # the terms are equal in all processes
                    self.manual_backward(torch.stack(list(penalties.values())).sum())
            for method in self.methods:
                method.after_backward(at)
        return {name: value.detach() / distributed.world() for name, value in penalties.items()}

    def _after_step(self, taken: Batch | None) -> None:
        at = self._step(taken)
        with torch.no_grad(), torch.autocast(self.model.device.type, enabled=False):
            for method in self.methods:
                method.after_step(at)

    def _divide(self, batch: Batch) -> tuple[Batch, Batch | None]:
        """Split a batch into the rows of the task loss and the rows that a method takes.

        Raises:
            UserError: if two methods take rows.
        """
        taking = [method for method in self.methods if isinstance(method, TakesRows)]
        masks = [method.row_mask(batch, self.readings) for method in taking]
        given = [(method, mask) for method, mask in zip(taking, masks, strict=True) if mask is not None]
        if len(given) > 1:
            names = " and ".join(type(method).__name__ for method, _ in given)
            raise UserError(f"strategy: {names} take rows out of the task loss, only one may; leave one of them out")
        if not given or not given[0][1].any():
            return batch, None
        return batch.at(~given[0][1]), batch.at(given[0][1])

    def _accumulate(self, batch: Batch) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Run backward passes over all micro-batches.

        Returns:
            This process's part of the step's mean loss, and of each further term.
        """
        units, world = distributed.all_reduce(self.objective.count(batch), batch.ids.device), distributed.world()
        sums: dict[str, Tensor] = {}
        parts = batch.split((self.settings.micro_batch or len(batch.ids)) * self.objective.rows)
        for place, part in enumerate(parts, 1):
            loss, found = self._loss_of(part, units)
            with self._unsynchronised() if place < len(parts) else nullcontext():
                self.manual_backward(loss * world if world > 1 else loss)  # DDP and FSDP average gradients
            for name, value in found.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value
        return sums.pop(TASK, None), sums

    def _unsynchronised(self) -> AbstractContextManager[None]:
        """Context that keeps DDP gradients in this process. FSDP always averages: no process could hold them all."""
        if distributed.world() > 1 and isinstance(self.trainer.strategy, DDPStrategy):
            return self.trainer.strategy.block_backward_sync()
        return nullcontext()

    def _loss_of(self, part: Batch, units: Tensor | int) -> tuple[Tensor, dict[str, Tensor]]:
        """A micro-batch's part of the step's loss, and its summands by name, detached.

        Args:
            part: rows of the micro-batch.
            units: units of the objective in the whole step.
        """
        if not self.needs_outputs:
            loss = self._loss(part) / units
            return loss, {TASK: loss.detach()}
        outputs = self._outputs(part)
        if self.objective.name:
            with torch.autocast(self.model.device.type, enabled=False):
                loss = self.objective.total(self.model, outputs, part) / units
            return loss, {self.objective.name: loss.detach()}
        seen = [(method, self._micro_batch(place, part, outputs)) for place, method in enumerate(self.methods)]
        terms = _named((method, method.token_terms(micro)) for method, micro in seen)
        total, each = losses.fused(outputs, list(terms.values())) if terms else (losses.total_nll(outputs),) * 2
        return total / units, dict(zip([TASK, *terms], each.detach().reshape(-1) / units, strict=True))

    def _micro_batch(self, place: int, part: Batch, outputs: Outputs) -> MicroBatch:
        teacher = partial(self.teachers[place], part) if place in self.teachers else None
        under = partial(self.token_loss.under, part)
        return MicroBatch(self.model, part, self.step, outputs, under, self.readings, teacher)


def _check_context(model: Any, sequence: int) -> None:
    """Raises UserError if a row, with its prompt if there is one, exceeds the model's context."""
    prompt, context = adapters.prompt(model), backbone.of(model).context
    more = 0 if prompt is None else len(prompt)
    if context is not None and more + sequence > context:
        exceeds = f"{sequence} and a prompt of {more} tokens exceed the model's context of {context}"
        raise UserError(f"train.sequence: {exceeds}; lower one of them")


def _named(found: Iterable[tuple[Method, dict[str, T]]]) -> dict[str, T]:
    """The terms of all methods. Raises UserError if terms of two methods have the same name."""
    terms: dict[str, T] = {}
    taken = set[str]()
    for method, own in found:
        if twice := taken & own.keys():
            name = f"{type(method).__name__}: term {sorted(twice)[0]!r}"
            raise UserError(f"strategy: {name} has the name of another method's; give it another")
        terms |= own
        taken |= own.keys()
    return terms
