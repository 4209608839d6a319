"""The learner: a LightningModule that holds the model and the strategy's methods.

Shapes: B rows, T tokens per row, N = learned tokens (B*T for text), D hidden width, V vocabulary.

One Lightning batch is one optimizer step: `training_step` walks through its micro-batches, sums the loss in
nats, divides by the tokens of the whole step, adds the methods' terms, clips and updates. So accumulation and
micro-batch size cannot change the loss, steps are counted by us, and gradient clipping works with the fused
AdamW under mixed precision (Lightning's own clipping refuses the pair).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from cl import losses, rows
from cl.errors import UserError
from cl.method import Method, MicroBatch, Progress
from cl.rows import IGNORE, Batch
from cl.settings import Train

# Attributes of a transformers configuration by which some architectures change logits after the output layer.
LOGIT_SCALES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")


class TokenLoss:
    """Summed cross-entropy of a causal language model on packed rows, in nats.

    model: any transformers causal LM; separator: id that starts a document. Where the vocabulary is so large
    that the logits of a micro-batch would exceed `losses.CHUNK_BYTES`, they are formed in chunks from the
    hidden states, unless the architecture scales or bends its logits.
    """

    def __init__(self, model: Any, separator: int, boundaries: bool) -> None:
        self.model, self.separator, self.boundaries = model, separator, boundaries
        head = model.get_output_embeddings()
        plain = isinstance(head, nn.Linear) and head.bias is None
        self.splits = plain and not any(getattr(model.config, name, None) for name in LOGIT_SCALES)

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Arguments of the model for a batch."""
        inputs = {"input_ids": batch.ids[:, :-1]}
        if self.boundaries:
            segments = rows.segments(batch, self.separator)
            inputs["attention_mask"] = rows.block_mask(segments)
            inputs["position_ids"] = rows.positions(segments)
        return inputs

    def total(self, batch: Batch) -> Tensor:
        """Sum over all learned target tokens of a batch."""
        inputs = self.inputs(batch)
        targets = (batch.ids[:, 1:] if batch.targets is None else batch.targets).reshape(-1)
        keep = None if batch.targets is None else targets != IGNORE
        chunk = losses.chunk_size(self.model.config.vocab_size)
        if not self.splits or (keep is None and targets.numel() <= chunk):
            return losses.nll(*_kept(self.model(**inputs, use_cache=False).logits, targets, keep))
        hidden = self.model.get_decoder()(**inputs, use_cache=False).last_hidden_state
        weight = self.model.get_output_embeddings().weight
        values, wanted = _kept(hidden, targets, keep)
        total: Tensor = losses.linear_nll(values, weight, wanted, chunk)
        return total


def _kept(values: Tensor, targets: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """Values [B, T, X] and targets [B*T] of the learned tokens: the output layer is spared the others."""
    values = values.reshape(-1, values.shape[-1])
    return (values, targets) if keep is None else (values[keep], targets[keep])


class Learner(pl.LightningModule):
    """Trains a causal language model on packed rows with a strategy's methods.

    model: transformers causal LM; train: settings; methods: in order; separator: id that starts a document;
    total: optimizer steps of the whole stage (for schedules); start: steps of it done before; t: 1-based
    stage; compiled: use torch.compile.
    An ordinary LightningModule: it also trains in a plain `Trainer.fit` with a loader of one `cl.rows.Batch` per
    optimizer step.
    """

    def __init__(
        self,
        model: Any,
        train: Train,
        methods: Sequence[Method] = (),
        *,
        separator: int,
        total: int,
        start: int = 0,
        t: int = 1,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.settings, self.methods = model, train, list(methods)
        self.total, self.step, self.t = total, start, t
        self.token_loss = TokenLoss(model, separator, train.boundaries)
        total_loss: Callable[[Batch], Tensor] = self.token_loss.total
        self._loss = torch.compile(total_loss, dynamic=False) if compiled else total_loss
        self.last: dict[str, Any] = {}  # of the last step: loss, terms, grad_norm, lr, tokens
        if train.gradient_checkpointing:
            # renamed in transformers 5, where the old name warns
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()

    def on_fit_start(self) -> None:
        """Training mode: transformers hands models over in evaluation mode, and Lightning leaves that as it is."""
        self.train()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, fused; weight decay on matrices only."""
        return build_optimizer(self.model, self.settings)

    def learning_rate(self, step: int) -> float:
        """Peak rate times the factor of the first method that gives one; constant where none does."""
        for method in self.methods:
            factor = method.schedule(Progress(step, self.total, self.t))
            if factor is not None:
                return self.settings.lr * factor
        return self.settings.lr

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """One optimizer step. What happened is left in `last`, as tensors."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        rate = self.learning_rate(self.step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)  # multiplied, never overwritten
        optimizer.zero_grad(set_to_none=True)
        loss, terms = self._accumulate(batch)
        if penalties := _named((method, method.step_terms(self.model, self.step)) for method in self.methods):
            self.manual_backward(torch.stack(list(penalties.values())).sum())
            terms |= {name: value.detach() for name, value in penalties.items()}
        for method in self.methods:
            method.after_backward(self.model)
        norm = nn.utils.clip_grad_norm_([p for p in self.parameters() if p.requires_grad], self.settings.clip)
        optimizer.step()
        self.step += 1
        self.last = {"loss": loss, "terms": terms, "grad_norm": norm, "lr": rate}

    def _accumulate(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Backward through all micro-batches; returns the step's mean loss and its further terms."""
        count = batch.learned()
        loss = torch.zeros((), device=batch.ids.device)
        terms: dict[str, Tensor] = {}
        for part in batch.split(self.settings.micro_batch or len(batch.ids)):
            share = part.learned() / count
            nll = self._loss(part)
            objective = nll / count
            for name, value in self._terms(part).items():
                objective = objective + share * value
                terms[name] = terms.get(name, torch.zeros_like(loss)) + share * value.detach()
            self.manual_backward(objective)
            loss = loss + nll.detach() / count
        return loss, terms

    def _terms(self, part: Batch) -> dict[str, Tensor]:
        seen = MicroBatch(self.model, part, self.step)
        return _named((method, method.loss_terms(seen)) for method in self.methods)


def _named(found: Iterable[tuple[Method, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """The terms of all methods. Raises UserError where two have one name."""
    terms: dict[str, Tensor] = {}
    for method, own in found:
        if twice := terms.keys() & own.keys():
            name = f"{type(method).__name__}: term {sorted(twice)[0]!r}"
            raise UserError(f"strategy: {name} has the name of another method's; give it another")
        terms |= own
    return terms


def build_optimizer(model: nn.Module, train: Train) -> torch.optim.AdamW:
    """AdamW (arXiv 2403.08763, section 3) with weight decay on tensors of two or more dimensions."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": train.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=train.lr, betas=train.betas, eps=train.eps, fused=True)
