"""SEQ*: train a classifier on a frozen language model, and freeze the parts of it that earlier tasks learned.

Zheng et al. 2023 ("Learn or Recall?"), arXiv 2312.07887, section 4, and its code,
`zzz47zzz/codebase-for-incremental-learning-with-llm`. With h the hidden state of a question's last token:

    W  warm up: before the stream, learn task 1 as a language model        FixB  then freeze the language model for good
    L = mean over rows of  -log softmax_C(cos(w_c, h))                     FixC  freeze w_c once its task is over
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from cl.errors import UserError
from cl.methods.method import Learned, Method, PlansStages, Stage, Trains

if TYPE_CHECKING:
    from torch import Tensor

    from cl.data.batches import Batch
    from cl.methods.objective import Objective
    from cl.models.classifier_head import Answer, Head
    from cl.models.losses import Outputs
    from cl.models.pretrained import Outline

ROWS = 64  # rows whose answers are read at once


class Classifier:
    """Objective: cross-entropy of the class of each row's answer."""

    learns_from: tuple[str, ...] = ("instruction",)
    rows, name = 1, "seq_star"

    def count(self, batch: Batch) -> int:
        """Rows."""
        return len(batch.ids)

    def total(self, model: Any, outputs: Outputs, batch: Batch) -> Tensor:
        """Summed cross-entropy of the classifier over rows, in nats."""
        import torch.nn.functional as F

        from cl.models import classifier_head

        head = classifier_head.of(model)
        assert head is not None, "survey attaches it"
        logits = head(classifier_head.features(outputs, batch))
        return F.cross_entropy(logits, head.targets(batch), reduction="sum")


@dataclass(eq=False)
class SeqStar(PlansStages, Trains):
    """Train a classifier, whose classes are the answers in the data, in place of the loss on tokens.

    Args:
        warmup: W: length of the warm-up, in multiples of task 1's own rows. The paper's is 0.2: 1 epoch beside 5.
        fix_backbone: FixB: freeze the language model after the warm-up.
        fix_old: FixC: freeze the weights of old classes.
        cosine: cosines without a temperature; otherwise dot products.
        preallocate: P: number of classes of the whole stream. None: the softmax is over the classes so far.
        rate: factor on the learning rate of the classifier. The paper's is 100, to the language model's 1e-5.

    The warm-up is added to the budget. It is a stage of its own, t = 0, in which the other methods of the strategy act:
    plain training on tokens. With P the softmax is over all classes from the start; classes to come are random weights
    that learn to be wrong. P presumes knowledge that a stream does not give. The paper's rival SEQ (Lin) has warmup 0,
    and fix_backbone, fix_old and cosine off.
    At test the answer is the most likely class of those so far, whichever task a question belongs to. `nll` in R is
    still the language model's: the classifier has no probability for a class to come.

    Traps: every distinct answer is a class, so free answers make no sense. The gain comes from the classifier alone, so
    another method that does not beat this one gains in its classifier only. With LoRA it needs life `continue`, so that
    the adapter of the warm-up stays active, frozen.
    Deviations: the dot products have no bias; the warm-up learns the answer's tokens alone, with an optimizer and a
    schedule of its own; old rows are frozen as parameters, where the code sets their learning rate to 0. Under P it
    predicts among the classes so far, as the code does.

    Keeps between tasks: the classifier, D numbers per class, in the state.
    """

    warmup: float = 1.0
    fix_backbone: bool = True
    fix_old: bool = True
    cosine: bool = True
    preallocate: int | None = None
    rate: float = 1.0

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.rate <= 0 or (self.preallocate is not None and self.preallocate < 1):
            wrong = f"warmup {self.warmup} must be at least 0, rate {self.rate} above 0"
            raise UserError(f"{wrong}, preallocate {self.preallocate} a number of classes or left out")

    def active(self, t: int) -> bool:
        """Act in every task, but not in the warm-up before them."""
        return t > 0

    def inactive_settings(self, t: int) -> tuple[str, ...]:
        """The warm-up is a stage of its own; in the first task no class is old."""
        return ("warmup", "fix_old") if t == 1 else ("warmup",)

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Refuse a carried optimizer state, since each stage trains other parameters; warn about `preallocate`."""
        if any(isinstance(other, PlansStages) and other.carries_optimizer() for other in others):
            raise UserError("each stage trains other parameters; take optimizer_state: keep out")
        return [] if self.preallocate is None else ["preallocate presumes how many classes the stream will have"]

    def suits(self, outline: Outline) -> None:
        """Refuse a model on whose hidden states no classifier can stand."""
        if outline.origin == "directory":
            from cl.models import backbone

            backbone.check_splits(outline, "the classifier stands on hidden states")

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """Put the warm-up before the stream: stages that would start from the base model start from its end."""
        if not self.warmup:
            return stages
        first = stages[0]
        name, total = f"{first.name} warm-up", self.warmup * first.total
        warm = replace(first, name=name, t=0, total=total, parent=None, row=None, start=0.0, stop=1.0)
        return [warm, *(replace(s, parent=0 if s.parent is None else s.parent + 1) for s in stages)]

    def objective(self) -> Objective:
        """Minimise the cross-entropy of the classifier."""
        return Classifier()

    def prepare(self, model: Any, t: int) -> Any:
        """Freeze parameters: needed here for a stage that continues its parent's, where `survey` is not called."""
        self._hold(model, t)
        return model

    def survey(self, ahead: Learned) -> None:
        """Give the classes of the stage their rows of the classifier.

        Raises:
            UserError: for text, for more classes than `preallocate`, and if nothing could be learned.
        """
        from cl.models import adapters, classifier_head

        found: set[Answer] = set()
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

    def _make_room(self, ahead: Learned, head: Head, found: set[Answer]) -> None:
        """Add a block of rows for new classes to the classifier."""
        from cl.models.classifier_head import SPARE, draw

        output = ahead.model.get_output_embeddings().weight
        count = len(found | set(head.classes))
        if self.preallocate is not None and count > self.preallocate:
            more = f"{count} classes up to {ahead.tasks[0]}; give the number of classes of the whole stream"
            raise UserError(f"seq_star: preallocate: {self.preallocate} is less than the {more}")
        if self.preallocate is not None and not head.classes:
            head.blocks[SPARE] = draw(self.preallocate, output.shape[1])
        head.add(f"t{ahead.t}", sorted(found), partial(draw, width=output.shape[1]))
        head.to(output.device)

    def _hold(self, model: Any, t: int) -> None:
        """Freeze all but the parameters of stage t: of the classifier its own rows and those of classes to come."""
        from cl.models import classifier_head

        head = classifier_head.of(model)
        if head is None:
            return
        if self.fix_backbone:
            model.requires_grad_(False)
        for name, block in head.blocks.items():
            block.requires_grad_(not self.fix_old or name in (f"t{t}", classifier_head.SPARE))
            block.lr_factor = self.rate  # `cl.training.optimizer.build_optimizer` reads it
