"""A classifier on a causal language model: answers as classes, told apart by the hidden state that follows a question.

    head.safetensors   weights in blocks [k, D]: one for the classes of each stage, `spare` for those to come
    head.json          its form, the order of its blocks, and its classes: token ids of answers with their end of turn

It is a submodule of the model that it belongs to, and is stored beside the state. Shapes: B rows, C classes, D hidden
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

from cl.data.batches import IGNORE, Batch, Row, collate
from cl.errors import UserError
from cl.models.losses import Outputs

SPARE = "spare"
WEIGHTS, INDEX = "head.safetensors", "head.json"

Answer = tuple[int, ...]


class Head(nn.Module):
    """Logits of classes from hidden states: w @ h, or (`cosine`) w @ h / |w| |h|; no bias, no temperature.

    blocks: weights by name, parameters of their own so that one can be frozen; classes: the answer of each row of the
    blocks in order, but for the rows of `spare`, which come last and have none yet.
    """

    def __init__(self, cosine: bool) -> None:
        super().__init__()
        self.cosine = cosine
        self.blocks = nn.ParameterDict()
        self.classes: list[Answer] = []

    def forward(self, features_BD: Tensor) -> Tensor:
        """Logits [B, C] in fp32, those of spare rows included."""
        weights = torch.cat(list(self.blocks.values()))
        with torch.autocast(weights.device.type, enabled=False):  # bf16 could not tell near cosines apart
            features = features_BD.float()
            if self.cosine:
                features, weights = F.normalize(features, dim=-1), F.normalize(weights, dim=-1)
            return F.linear(features, weights)

    def add(self, block: str, answers: Sequence[Answer], fresh: Callable[[int], nn.Parameter]) -> None:
        """Give answers that are not classes yet a block of rows: of the spare ones where there are any, else fresh."""
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
        """The number of each row's class [B]. Raises UserError for an answer that is none."""
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
    """Fresh weights [count, width], uniform in +-1/sqrt(width), as the paper's code and torch draw them."""
    bound = width**-0.5
    return nn.Parameter(torch.empty(count, width).uniform_(-bound, bound))


def answers(batch: Batch) -> list[Answer]:
    """The learned tokens of each row."""
    assert batch.targets is not None, "text has no answers"
    return [tuple(token for token in row if token != IGNORE) for row in batch.targets.tolist()]


def features(outputs: Outputs, batch: Batch) -> Tensor:
    """Hidden state [B, D] of the last token of each row's question, from which the first learned token is predicted.

    Raises UserError for an architecture that scales or bends its logits, of which the outputs hold no hidden states.
    """
    if outputs.weight is None:
        raise UserError("classifier: this architecture scales or bends its logits and is not supported; take another")
    assert batch.targets is not None, "text has no questions"
    learned = (batch.targets != IGNORE).sum(1)
    return outputs.values[learned.cumsum(0) - learned]


def of_questions(
    outputs: Callable[[Batch], Outputs], questions: Sequence[Tensor], separator: int, size: int, device: str
) -> Tensor:
    """Features [N, D] of questions (ids [n] each) in their order, computed `size` at a time, in fp32."""
    found = []
    for start in range(0, len(questions), size):
        batch = collate([_asked(question) for question in questions[start : start + size]], separator).to(device)
        with torch.no_grad():
            found.append(features(outputs(batch), batch).float())
    return torch.cat(found)


def _asked(question: Tensor) -> Row:
    """A question alone as a row: one learned token, whichever, stands after it."""
    after = question[-1:]
    return Row(torch.cat([question, after]), torch.cat([torch.full_like(question[1:], IGNORE), after]))


def of(model: Any) -> Head | None:
    """The model's classifier, if it has one."""
    return getattr(model, "cl_head", None)


def attach(model: Any, cosine: bool) -> Head:
    """Give the model a classifier without classes; it stays through adding and merging adapters."""
    from peft import PeftModel

    owner = model.get_base_model() if isinstance(model, PeftModel) else model
    owner.cl_head = Head(cosine)
    found: Head = owner.cl_head
    return found


@contextmanager
def apart(model: Any) -> Iterator[None]:
    """The model (without adapters) without its classifier for a while, so that its own weights can be written alone."""
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
    """The model with the classifier of a stored state, if that has one."""
    if not (folder / INDEX).exists():
        return model
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    head, stored = attach(model, index["cosine"]), load_file(folder / WEIGHTS)
    head.classes = [tuple(answer) for answer in index["classes"]]
    for name in index["blocks"]:
        head.blocks[name] = nn.Parameter(stored[name])
    return model
