"""The learner: a LightningModule that holds the model and the strategy's methods.

Shapes: B rows, T tokens per row, N = B*T, D hidden width, V vocabulary.

One Lightning batch is one optimizer step: `training_step` walks through its micro-batches, sums the loss in
nats, divides by the tokens of the whole step, adds the methods' terms, clips and updates. So accumulation and
micro-batch size cannot change the loss, steps are counted by us, and gradient clipping works with the fused
AdamW under mixed precision (Lightning's own clipping refuses the pair).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from cl import data, losses
from cl.errors import UserError
from cl.method import Method, MicroBatch, Progress
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

    def inputs(self, tokens: Tensor) -> dict[str, Tensor]:
        """Arguments of the model for ids [B, T+1]."""
        inputs = {"input_ids": tokens[:, :-1]}
        if self.boundaries:
            segments = data.segments(tokens, self.separator)
            inputs["attention_mask"] = data.block_mask(segments)
            inputs["position_ids"] = data.positions(segments)
        return inputs

    def total(self, tokens: Tensor) -> Tensor:
        """Sum over all target tokens of [B, T+1] ids."""
        targets = tokens[:, 1:].reshape(-1)
        inputs = self.inputs(tokens)
        vocabulary = self.model.config.vocab_size
        chunk = losses.chunk_size(vocabulary)
        if not self.splits or targets.numel() <= chunk:
            logits = self.model(**inputs, use_cache=False).logits
            return losses.nll(logits.reshape(-1, logits.shape[-1]), targets)
        hidden = self.model.get_decoder()(**inputs, use_cache=False).last_hidden_state
        weight = self.model.get_output_embeddings().weight
        total: Tensor = losses.linear_nll(hidden.reshape(-1, hidden.shape[-1]), weight, targets, chunk)
        return total


class Learner(pl.LightningModule):
    """Trains a causal language model on packed rows with a strategy's methods.

    model: transformers causal LM; train: settings; methods: in order; separator: id that starts a document;
    total: optimizer steps of the whole stage (for schedules); start: steps of it done before; t: 1-based
    stage; compiled: use torch.compile.
    An ordinary LightningModule: it also trains in a plain `Trainer.fit` with a loader of id tensors
    [batch, sequence + 1] per optimizer step.
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
        total_loss: Callable[[Tensor], Tensor] = self.token_loss.total
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

    def training_step(self, batch: Tensor, batch_index: int) -> None:
        """One optimizer step on ids [batch, T+1]. What happened is left in `last`, as tensors."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        rate = self.learning_rate(self.step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)  # multiplied, never overwritten
        optimizer.zero_grad(set_to_none=True)
        loss, terms = self._accumulate(batch)
        for method in self.methods:
            method.after_backward(self.model)
        norm = nn.utils.clip_grad_norm_([p for p in self.parameters() if p.requires_grad], self.settings.clip)
        optimizer.step()
        self.step += 1
        self.last = {"loss": loss, "terms": terms, "grad_norm": norm, "lr": rate, "tokens": batch[:, 1:].numel()}

    def _accumulate(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Backward through all micro-batches; returns the step's mean loss and its further terms."""
        count = batch[:, 1:].numel()
        loss = torch.zeros((), device=batch.device)
        terms: dict[str, Tensor] = {}
        for rows in batch.split(self.settings.micro_batch or len(batch)):
            share = rows[:, 1:].numel() / count
            nll = self._loss(rows)
            objective = nll / count
            for name, value in self._terms(rows).items():
                objective = objective + share * value
                terms[name] = terms.get(name, torch.zeros_like(loss)) + share * value.detach()
            self.manual_backward(objective)
            loss = loss + nll.detach() / count
        return loss, terms

    def _terms(self, rows: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for method in self.methods:
            terms = method.loss_terms(MicroBatch(self.model, rows))
            if twice := found.keys() & terms.keys():
                raise UserError(f"strategy: two methods name a loss term {sorted(twice)}; give one another name")
            found |= terms
        return found


def build_optimizer(model: nn.Module, train: Train) -> torch.optim.AdamW:
    """AdamW (arXiv 2403.08763, section 3) with weight decay on tensors of two or more dimensions."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": train.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=train.lr, betas=train.betas, eps=train.eps, fused=True)
