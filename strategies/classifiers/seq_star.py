"""SEQ*: learn a classifier on a frozen language model, and never touch the part of it that earlier tasks learned.

Zheng et al. 2023 ("Learn or Recall?"), arXiv 2312.07887, section 4, and its code,
`zzz47zzz/codebase-for-incremental-learning-with-llm`. With h the hidden state of a question's last token:

    W  warm up: before the stream, learn task 1 as a language model        FixB  then freeze the language model for good
    L = mean over rows of  -log softmax_C(cos(w_c, h))                     FixC  freeze w_c once its task is over
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl.data.batches import Batch
from cl.data.sampling import Reading
from cl.errors import UserError
from cl.methods.method import Learned, Method, Stage, Step
from cl.models import adapters, classifier_head

ROWS = 64  # looked at together for their answers


class SeqStar(Method):
    """Replace the loss on tokens by the cross-entropy of a classifier, whose classes are the answers in the data.

    warmup: W, in multiples of task 1's own rows (0.2 in the paper: 1 epoch beside 5); extra to the budget. Its stage,
    t = 0, is what the other methods of the strategy make of it: plain training on tokens.
    fix_backbone: FixB; fix_old: FixC; cosine: cosines without a temperature, else dot products; preallocate: P, the
    number of classes of the whole stream: the softmax is over all from the start, those to come as random weights that
    learn to be wrong; None: over the classes so far. P presumes what a stream does not tell. rate: factor on the
    learning rate of the classifier (100 in the paper, to the language model's 1e-5). The paper's rival SEQ (Lin) has
    warmup 0, and fix_backbone, fix_old and cosine off.
    At test the most likely class of those so far is the answer, whichever task a question is of. `nll` in R stays that
    of the language model: of a class to come the classifier has no probability.
    Traps: every distinct answer is a class, so free answers make no sense; what it wins, it wins in the classifier
    alone, so that a method which does not beat it gains there only. With LoRA it needs life `continue`, so that the
    adapter of the warm-up acts on, frozen.
    Deviations: the dot products have no bias; the warm-up learns the answer's tokens alone, with an optimizer and a
    schedule of its own; old rows are frozen as parameters, where the code sets their learning rate to 0; a step's rows
    pass at once, whatever train.micro_batch. Among which classes the paper predicts under P was not read: here those so
    far.
    Keeps between tasks: the classifier, D numbers a class, in the state.
    """

    def __init__(
        self,
        warmup: float = 1.0,
        fix_backbone: bool = True,
        fix_old: bool = True,
        cosine: bool = True,
        preallocate: int | None = None,
        rate: float = 1.0,
    ) -> None:
        super().__init__()
        if warmup < 0 or rate <= 0 or (preallocate is not None and preallocate < 1):
            wrong = f"warmup {warmup} must be at least 0, rate {rate} above 0"
            raise UserError(f"{wrong}, preallocate {preallocate} a number of classes or left out")
        self.warmup, self.fix_backbone, self.fix_old, self.cosine = warmup, fix_backbone, fix_old, cosine
        self.preallocate, self.rate = preallocate, rate

    def active(self, t: int) -> bool:
        """In every task, but not in the warm-up before them."""
        return t > 0

    def inert(self, t: int) -> tuple[str, ...]:
        """The warm-up is a stage of its own; in the first task no class is old."""
        return ("warmup", "fix_old") if t == 1 else ("warmup",)

    def check(self, others: Sequence[Method]) -> None:
        """Not beside a method that keeps the optimizer's state: what is trained is another in each stage."""
        if any(other.keep_optimizer() for other in others):
            raise UserError("each stage trains other parameters; take optimizer_state: keep out")

    def warnings(self) -> list[str]:
        """P tells the method what a stream does not."""
        return [] if self.preallocate is None else ["preallocate presumes how many classes the stream will have"]

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """Put the warm-up before the stream: what starts from the base model starts from its end."""
        if not self.warmup:
            return stages
        first = stages[0]
        name, total = f"{first.name} warm-up", self.warmup * first.total
        warm = replace(first, name=name, t=0, total=total, parent=None, row=None, start=0.0, stop=1.0)
        return [warm, *(replace(s, parent=0 if s.parent is None else s.parent + 1) for s in stages)]

    def prepare(self, model: Any, t: int) -> Any:
        """Freeze what is frozen: the only chance where a stage goes on inside its parent's."""
        self._hold(model, t)
        return model

    def survey(self, ahead: Learned) -> None:
        """Give the stage's classes their rows. Raises UserError for text, for more than P, for nothing to learn."""
        found: set[classifier_head.Answer] = set()
        for batch in ahead.batches(ROWS):
            if batch.targets is None:
                raise UserError(f"seq_star: {' and '.join(ahead.tasks)} is text, which has no labels; leave it out")
            found |= set(classifier_head.answers(batch))
        head = classifier_head.of(ahead.model) or classifier_head.attach(ahead.model, self.cosine)
        self._make_room(ahead, head, found)
        self._hold(ahead.model, ahead.t)
        fresh = ahead.t > 1 and f"t{ahead.t}" in adapters.names(ahead.model, "trained")
        if (fresh and self.fix_backbone) or not any(p.requires_grad for p in ahead.model.parameters()):
            reason = "a fresh adapter would never learn" if fresh else "no class is new and all else is frozen"
            remedy = "use lora with life continue, and tasks with new classes"
            raise UserError(f"seq_star: {ahead.tasks[0]}: {reason}; {remedy}")

    def _make_room(self, ahead: Learned, head: classifier_head.Head, found: set[classifier_head.Answer]) -> None:
        output = ahead.model.get_output_embeddings().weight
        count = len(found | set(head.classes))
        if self.preallocate is not None and count > self.preallocate:
            more = f"{count} classes up to {ahead.tasks[0]}; give the number of classes of the whole stream"
            raise UserError(f"seq_star: preallocate: {self.preallocate} is less than the {more}")
        if self.preallocate is not None and not head.classes:
            head.blocks[classifier_head.SPARE] = classifier_head.draw(self.preallocate, output.shape[1])
        head.add(f"t{ahead.t}", sorted(found), partial(classifier_head.draw, width=output.shape[1]))
        head.to(output.device)

    def _hold(self, model: Any, t: int) -> None:
        """Say which parameters learn in stage t: of the classifier its own rows and those of classes to come."""
        head = classifier_head.of(model)
        if head is None:
            return
        if self.fix_backbone:
            model.requires_grad_(False)
        for name, block in head.blocks.items():
            block.requires_grad_(not self.fix_old or name in (f"t{t}", classifier_head.SPARE))
            block.lr_factor = self.rate  # `cl.training.learner.build_optimizer` reads it

    def takes(self, batch: Batch, readings: Sequence[Reading]) -> Tensor:
        """All rows."""
        return torch.ones(len(batch.ids), dtype=torch.bool, device=batch.ids.device)

    def step_terms(self, at: Step) -> dict[str, Tensor]:
        """The mean cross-entropy of the classifier over the step's rows."""
        head = classifier_head.of(at.model)
        assert head is not None, "survey attaches it"
        assert at.taken is not None
        logits = head(classifier_head.features(at.outputs(at.taken), at.taken))
        return {"seq_star": F.cross_entropy(logits, head.targets(at.taken))}
