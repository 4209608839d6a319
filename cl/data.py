"""From text to rows of tokens: the tokenizer node, the data node, and packed rows.

A split becomes one flat array of token ids in which every document starts with a separator:

    SEP d1 d2 … SEP d1 d2 … SEP …

Row r holds tokens r*T … r*T+T (T = sequence length, T+1 ids, one shared with the next row): inputs are the
first T, targets the last T. A separator starts a new segment; attention and positions stay inside a segment,
and the last token of a document still predicts the separator that ends it. So no token is padding, none is
lost except the tail shorter than a row, and nothing is predicted from another document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from cl import models, scenario
from cl.errors import UserError
from cl.settings import Model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SEPARATOR = "<|endoftext|>"
TRAINING_BYTES = 8_000_000  # text per task from which a tokenizer is trained
BATCH = 1000  # documents tokenized at once

SPLITS = ("train", "validation", "test")


def tokenizer(spec: dict[str, Any], local: dict[str, Any], out: Path) -> dict[str, Any]:
    """Execute a tokenizer node: train a byte-level BPE on the stream, or store the model's own.

    A trained one sees the training splits of all tasks, TRAINING_BYTES of each. Returns the separator's id.
    """
    model = Model(**local["model"])
    if spec["train_on"]:
        found = _train_bpe(_training_text(spec["train_on"], local), spec["vocabulary"])
    else:
        found = models.load_tokenizer(model)
    found.save_pretrained(out)
    separator = _separator(found)
    return {"vocabulary": len(found), "separator": separator, "separator_id": found.get_vocab()[separator]}


def _training_text(tasks: dict[str, str], local: dict[str, Any]) -> Iterator[str]:
    defined = scenario.load(local["scenario"])
    for name in tasks:
        room = TRAINING_BYTES
        for document in scenario.split(defined.task(name), defined).train:
            room -= len(document.encode())
            if room < 0:
                break
            yield document


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


def _separator(found: PreTrainedTokenizerBase) -> str:
    """The token that starts every document: <|endoftext|> where the vocabulary has it, else eos, else bos."""
    candidates = [SEPARATOR if SEPARATOR in found.get_vocab() else None, found.eos_token, found.bos_token]
    for candidate in candidates:
        if candidate:
            return str(candidate)
    raise UserError("model.tokenizer: has neither <|endoftext|> nor an eos nor a bos token to separate documents")


def data(spec: dict[str, Any], local: dict[str, Any], inputs: dict[str, Path], out: Path) -> dict[str, Any]:
    """Execute a data node: split a task's documents and tokenize each split into a flat array of int32."""
    from transformers import AutoTokenizer

    defined = scenario.load(local["scenario"])
    task = defined.task(spec["task"])
    splits = scenario.split(task, defined)
    found = AutoTokenizer.from_pretrained(inputs["tokenizer"])
    separator: int = found.get_vocab()[_separator(found)]
    arrays = {name: encode(getattr(splits, name), found, separator) for name in SPLITS}
    save_file(arrays, out / "tokens.safetensors")
    return {
        "tokens": {name: int(array.size) for name, array in arrays.items()},
        "report": asdict(splits.report),
        "example": splits.validation[0][:500],
    }


def encode(documents: list[str], tokenizer: Any, separator: int) -> npt.NDArray[np.int32]:
    """Token ids of all documents in one array, each document after a separator, a final separator at the end.

    Special tokens written out in a text are encoded as plain text, so a document cannot forge a boundary.
    """
    pieces: list[npt.NDArray[np.int32]] = []
    for start in range(0, len(documents), BATCH):
        encoded = tokenizer(
            documents[start : start + BATCH], add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        pieces += [np.array([separator, *ids], dtype=np.int32) for ids in encoded]
    return np.concatenate([*pieces, np.array([separator], dtype=np.int32)]) if pieces else np.zeros(0, np.int32)


class Rows:
    """Packed rows of one split: `len(rows)` rows of `sequence` + 1 token ids, int64."""

    def __init__(self, tokens: npt.NDArray[np.int32], sequence: int) -> None:
        self.tokens, self.sequence = tokens, sequence

    def __len__(self) -> int:
        return max(0, (self.tokens.size - 1) // self.sequence)

    def __getitem__(self, row: int) -> Tensor:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        start = row * self.sequence
        return torch.from_numpy(self.tokens[start : start + self.sequence + 1].astype(np.int64))


def rows(folder: Path, split: str, sequence: int) -> Rows:
    """Rows of a split of a stored data node."""
    return Rows(load_file(folder / "tokens.safetensors")[split], sequence)


def segments(tokens: Tensor, separator: int) -> Tensor:
    """Segment number of each input token: [B, T+1] ids -> [B, T]; a separator starts a new segment."""
    return (tokens[:, :-1] == separator).cumsum(1)


def positions(segments_BT: Tensor) -> Tensor:
    """Position of each token in its segment, from 0: [B, T] -> [B, T]."""
    index = torch.arange(segments_BT.shape[1], device=segments_BT.device).expand_as(segments_BT)
    starts = torch.ones_like(segments_BT, dtype=torch.bool)
    starts[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    return index - torch.where(starts, index, 0).cummax(1).values


def block_mask(segments_BT: Tensor) -> Tensor:
    """Causal attention inside segments: [B, T] -> bool [B, 1, T, T], true where a query may look."""
    same = segments_BT[:, None, :, None] == segments_BT[:, None, None, :]
    return same & torch.ones(same.shape[-2:], dtype=torch.bool, device=same.device).tril()
