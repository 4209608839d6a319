"""Classifier head on a causal language model: each answer is a class, predicted from the question's last hidden state.

    head.safetensors   weights in blocks [k, D]: one block per stage for its new classes, and `spare` for later classes
    head.json          cosine or linear, the order of the blocks, and the classes: token ids of each answer with its
                       end of turn

The head is a submodule of its model and is stored in the folder of the state. Shapes: B rows, C classes, D hidden
width.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cl.data.batches import Batch, collate
from cl.data.rows import IGNORE, Row
from cl.errors import UserError
from cl.models.losses import Outputs

SPARE = "spare"
WEIGHTS, INDEX = "head.safetensors", "head.json"

Answer = tuple[int, ...]


class Head(nn.Module):
    """Logits of classes from hidden states: w @ h, or with `cosine` w @ h / (|w| |h|); no bias, no temperature.

    Args:
        cosine: whether logits are cosines.

    Attributes:
        blocks: weights [k, D] by name; each block is a parameter of its own, so that it can be frozen.
        classes: answer of each row of the blocks, in order; rows of `spare` come last and have no class yet.
    """

    def __init__(self, cosine: bool) -> None:
        super().__init__()
        self.cosine = cosine
        self.blocks = nn.ParameterDict()
        self.classes: list[Answer] = []

    def forward(self, features_BD: Tensor) -> Tensor:
        """Logits [B, C] in fp32, logits of spare rows included."""
        weights = torch.cat(list(self.blocks.values()))
        with torch.autocast(weights.device.type, enabled=False):  # close cosines are equal in bf16
            features = features_BD.float()
            if self.cosine:
                features, weights = F.normalize(features, dim=-1), F.normalize(weights, dim=-1)
            return F.linear(features, weights)

    def add(self, block: str, answers: Sequence[Answer], fresh: Callable[[int], nn.Parameter]) -> None:
        """Add answers that are not classes yet, as a new block: spare rows if there are any, else fresh rows.

        Args:
            block: name of the new block.
            answers: token ids of each answer.
            fresh: function from a number of rows to fresh weights.
        """
        new = [answer for answer in answers if answer not in self.classes]
        if not new:
            return
        if SPARE in self.blocks:
            spare = self.blocks.pop(SPARE).detach()
            self.blocks[block] = nn.Parameter(spare[: len(new)].clone())
            if len(spare) > len(new):
                self.blocks[SPARE] = nn.Parameter(spare[len(new) :].clone())
        else:
            self.blocks[block] = fresh(len(new))
        self.classes += new

    def targets(self, batch: Batch) -> Tensor:
        """Number of each row's class [B]; raises UserError for an answer that is not a class."""
        number = {answer: place for place, answer in enumerate(self.classes)}
        found = [number.get(answer) for answer in answers(batch)]
        if None in found:
            raise UserError("classifier: an answer in the data is none of its classes; leave out such tasks")
        return torch.tensor(found, device=batch.ids.device)

    def answers(self, features_BD: Tensor) -> list[list[int]]:
        """Token ids of the most likely class of each row, without its end of turn."""
        best = self(features_BD)[:, : len(self.classes)].argmax(-1)
        return [list(self.classes[place][:-1]) for place in best.tolist()]


def draw(count: int, width: int) -> nn.Parameter:
    """Draw fresh weights [count, width], uniform in +-1/sqrt(width) as in the paper's code and in torch."""
    bound = width**-0.5
    return nn.Parameter(torch.empty(count, width).uniform_(-bound, bound))


def answers(batch: Batch) -> list[Answer]:
    """Learned tokens of each row: its answer with the end of turn."""
    assert batch.targets is not None, "text has no answers"
    return [tuple(token for token in row if token != IGNORE) for row in batch.targets.tolist()]


def features(outputs: Outputs, batch: Batch) -> Tensor:
    """Hidden state [B, D] of the last token of each row's question, which predicts the first learned token.

    Args:
        outputs: outputs of the model on the batch.
        batch: the batch.

    Raises:
        UserError: for an architecture that changes its logits after the output layer; its outputs hold no hidden
            states.
    """
    if outputs.weight is None:
        raise UserError("classifier: this architecture changes logits after the output layer; take another model")
    assert batch.targets is not None, "text has no questions"
    learned = (batch.targets != IGNORE).sum(1)
    return outputs.values[learned.cumsum(0) - learned]


def of_questions(
    outputs: Callable[[Batch], Outputs], questions: Sequence[Tensor], separator: int, size: int, device: str
) -> Tensor:
    """Compute the features [N, D] of questions, in fp32 and in the order of the questions.

    Args:
        outputs: function from a batch to the model's outputs.
        questions: token ids [n] of each question.
        separator: id of the separator.
        size: questions per forward pass.
        device: device of the model.
    """
    found = []
    for start in range(0, len(questions), size):
        batch = collate([_asked(question) for question in questions[start : start + size]], separator).to(device)
        with torch.no_grad():
            found.append(features(outputs(batch), batch).float())
    return torch.cat(found)


def _asked(question: Tensor) -> Row:
    """A question as a row, followed by one arbitrary learned token."""
    after = question[-1:]
    return Row(torch.cat([question, after]), torch.cat([torch.full_like(question[1:], IGNORE), after]))


def of(model: Any) -> Head | None:
    """The model's classifier, or None."""
    return getattr(model, "cl_head", None)


def attach(model: Any, cosine: bool) -> Head:
    """Give the model a classifier without classes; adding and merging adapters keep it."""
    from peft import PeftModel

    owner = model.get_base_model() if isinstance(model, PeftModel) else model
    owner.cl_head = Head(cosine)
    found: Head = owner.cl_head
    return found


@contextmanager
def apart(model: Any) -> Iterator[None]:
    """Context in which a model without adapters has no classifier, so that only its own weights are written."""
    head = of(model)
    if head is not None:
        del model.cl_head
    try:
        yield
    finally:
        if head is not None:
            model.cl_head = head


def save(model: Any, folder: Path) -> None:
    """Write the model's classifier, if it has one, into the folder of its state."""
    head = of(model)
    if head is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: block.detach().cpu().contiguous() for name, block in head.blocks.items()}, folder / WEIGHTS)
    index = {"cosine": head.cosine, "blocks": list(head.blocks), "classes": head.classes}
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")


def load(model: Any, folder: Path) -> Any:
    """Attach the classifier of a stored state to the model, if the state has one."""
    if not (folder / INDEX).exists():
        return model
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    head, stored = attach(model, index["cosine"]), load_file(folder / WEIGHTS)
    head.classes = [tuple(answer) for answer in index["classes"]]
    for name in index["blocks"]:
        head.blocks[name] = nn.Parameter(stored[name])
    return model
