"""How the questions of a measured model are answered: by the model in this process, or by a server on its weights."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl.errors import UserError
from cl.graph.measurement_specs import EvaluateSpec, ItemwiseSpec
from cl.graph.roles import STATE, TOKENIZER, Inputs
from cl.models import adapters, classifier_head, decoding, pretrained
from cl.models.forward import TokenLoss
from cl.models.generation import served


@dataclass
class Answerer:
    """Answers the questions of one model.

    Args:
        loss: loss of the model.
        spec: the measurement.
        inputs: the node's parents.
        open: what is closed with the answerer.
        server: the server, once it was started.
    """

    loss: TokenLoss
    spec: EvaluateSpec | ItemwiseSpec
    inputs: Inputs
    open: ExitStack = field(default_factory=ExitStack)
    server: served.Server | None = None

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer; opened where something is answered."""
        return pretrained.stored_tokenizer(self.inputs[TOKENIZER])

    def texts(
        self, questions: Sequence[Tensor], limit: int, ends: Collection[int], prefixes: Tensor | None = None
    ) -> list[str]:
        """Return the answer to each question, cut before the first stop string.

        Args:
            questions: token ids [n] of each question.
            limit: largest number of tokens of an answer.
            ends: ids of the tokens that end an answer.
            prefixes: embeddings [questions, P, D] that are read before each question. None: those of the model.

        Raises:
            UserError: if a server cannot answer.
        """
        head, batch = classifier_head.of(self.loss.model), self.spec.batch
        if head is not None:
            device = str(self.loss.model.device)
            read = classifier_head.of_questions(self.loss.outputs, questions, self.loss.separator, batch, device)
            return [self._text(ids) for ids in head.answers(read)]
        if self.spec.engine is not None:
            produced = self._server(prefixes).answers(questions, limit, ends, self.spec.stop)
        else:
            with torch.no_grad():
                own = adapters.prompt(self.loss.model) if prefixes is None else prefixes.to(self.loss.model.device)
            reader, stopped = adapters.reader(self.loss.model), self._stopped if self.spec.stop else None
            produced = decoding.answers(
                reader, questions, limit, batch, ends, self.loss.separator, own, stopped=stopped
            )
        return [cut(self._text(ids), self.spec.stop) for ids in produced]

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _stopped(self, ids: list[int]) -> bool:
        text = self._text(ids)
        return any(each in text for each in self.spec.stop)

    def _server(self, prefixes: Tensor | None) -> served.Server:
        """The server, which is started before the first question."""
        if self.server is None:
            model: Any = self.loss.model
            if prefixes is not None or not adapters.mergeable(model):
                raise UserError("evaluation.engine: vllm reads neither embeddings nor experts; use transformers")
            folder = self.inputs[STATE]
            if getattr(self.spec, "select", None) is not None or (folder / adapters.INDEX).exists():
                folder = Path(self.open.enter_context(tempfile.TemporaryDirectory()))
                pretrained.save(model, folder)
            precision, engine = self.spec.compute.precision, self.spec.engine or ""
            self.server = self.open.enter_context(served.served(folder, self.inputs[TOKENIZER], precision, engine))
        return self.server


@contextmanager
def answering(loss: TokenLoss, spec: EvaluateSpec | ItemwiseSpec, inputs: Inputs) -> Iterator[Answerer]:
    """Context in which the questions of a model are answered; arguments as in `Answerer`."""
    with ExitStack() as stack:
        yield Answerer(loss, spec, inputs, stack)


def cut(text: str, stop: Sequence[str]) -> str:
    """The text before the first of some strings."""
    places = [place for each in stop if (place := text.find(each)) >= 0]
    return text[: min(places, default=len(text))]
