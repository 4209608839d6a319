"""Compute a tokenizer node: train a byte-level BPE, or store the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from cl.data.tokenization import SEPARATOR, separator_of
from cl.models import pretrained, vocabulary
from cl.tasks import scenario

if TYPE_CHECKING:
    from pathlib import Path

    from cl.graph.roles import Inputs
    from cl.graph.specs import Local, TokenizerSpec
    from cl.steps.context import Context

TRAINING_BYTES = 8_000_000  # text per task on which a tokenizer is trained


def run(spec: TokenizerSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Train a byte-level BPE on the stream, or store the model's own tokenizer.

    A tokenizer is trained on the training splits of all tasks, on at most TRAINING_BYTES of each.

    Returns:
        Size of the vocabulary, and the separator with its id.
    """
    assert context.local is not None
    if spec.train_on:
        assert spec.vocabulary is not None
        found = _train_bpe(_training_text(spec.train_on, context.local, context.work), spec.vocabulary)
    else:
        found = pretrained.load_tokenizer(context.local.model)
        vocabulary.add(found, spec.added)
    found.save_pretrained(context.out)
    separator = separator_of(found)
    return {"vocabulary": len(found), "separator": separator, "separator_id": found.get_vocab()[separator]}


def _training_text(tasks: Iterable[str], local: Local, work: Path) -> Iterator[str]:
    """Yield the documents on which a tokenizer is trained."""
    defined = scenario.load(local.scenario)
    for name in tasks:
        left = TRAINING_BYTES
        for document in scenario.split(defined.task(name), defined, work).train:
            left -= len(str(document).encode())
            if left < 0:
                break
            yield str(document)


def _train_bpe(text: Iterator[str], vocabulary: int) -> Any:
    """Train a byte-level BPE as a transformers tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[SEPARATOR], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(text, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=SEPARATOR, eos_token=SEPARATOR, pad_token=SEPARATOR)
