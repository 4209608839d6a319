"""Compute a tokenizer node: train a byte-level BPE, or store the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl.config.model import Model
from cl.models import pretrained
from cl.tasks import scenario

if TYPE_CHECKING:
    pass
from cl.data.tokenization import SEPARATOR, _separator

TRAINING_BYTES = 8_000_000  # text per task from which a tokenizer is trained


def tokenizer(spec: dict[str, Any], local: dict[str, Any], out: Path) -> dict[str, Any]:
    """Execute a tokenizer node: train a byte-level BPE on the stream, or store the model's own.

    A trained one sees the training splits of all tasks, TRAINING_BYTES of each. Returns the separator's id.
    """
    model = Model(**local["model"])
    if spec["train_on"]:
        found = _train_bpe(_training_text(spec["train_on"], local), spec["vocabulary"])
    else:
        found = pretrained.load_tokenizer(model)
    found.save_pretrained(out)
    separator = _separator(found)
    return {"vocabulary": len(found), "separator": separator, "separator_id": found.get_vocab()[separator]}


def _training_text(tasks: dict[str, str], local: dict[str, Any]) -> Iterator[str]:
    defined = scenario.load(local["scenario"])
    for name in tasks:
        room = TRAINING_BYTES
        for document in scenario.split(defined.task(name), defined).train:
            room -= len(str(document).encode())
            if room < 0:
                break
            yield str(document)


def _train_bpe(text: Iterator[str], vocabulary: int) -> Any:
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
