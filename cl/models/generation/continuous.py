"""Continuous batching of greedy answers: rows that have ended leave the batch, and waiting questions enter it.

    prefix     what all questions begin with is read once; its keys and values stand before those of each row
    slots      rows that are decoded together; as soon as `batch` of them are free, questions are read and enter
    columns    a row's keys and values stand on the right of the cache; columns that are padding in all rows are cut

A decoded token costs a pass over the weights, whatever the number of rows, so more rows are decoded together than are
read in one pass. The order of entry depends on the questions only.

transformers' own continuous batching packs all rows into one row with a dense mask. On a CPU it was no faster than
fixed batches (benchmarks/answers.py), and it reads no embeddings before a question.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from cl.models import backbone
from cl.models.generation.growing_cache import Pairs, cache_of, pairs_of

MOST_ROWS = 64
"""Rows that are decoded together, if `batch` is not more. With 64 rows in place of 8, a token of the packaged model
took 0.4 of the time on a CPU."""
MOST_TOKENS = 8192
"""Tokens whose keys and values are held, unless `batch` rows need more: 0.4 GB of the packaged model in fp32."""
MOST_READ = 1024
"""Tokens of questions that are read in one pass, unless `batch` questions have more."""
WORTH = 64
"""Tokens that a shared prefix must save: a pass over the prefix alone costs as much as 20 to 60 tokens of a batch."""

LEAVE = 8
"""Rows that have ended leave when they are one in so many: to move keys and values costs as much as some steps."""


@dataclass
class Rows:
    """Rows that are decoded together.

    Args:
        numbers: which question each row answers.
        memory: keys and values of the tokens that were read, see `cl.models.generation.growing_cache`.
        mask: 1 where a column of the memory holds a token of the row [rows, columns].
        tokens: the newest token of each row, which was not read yet [rows].
    """

    numbers: list[int]
    memory: Any
    mask: Tensor
    tokens: Tensor

    def kept(self, places: list[int]) -> Rows:
        """These rows alone, without the columns that are padding in all of them."""
        if len(places) == len(self.numbers):
            return self
        rows = torch.tensor(places, dtype=torch.int64, device=self.mask.device)
        mask = self.mask[rows]
        columns = mask.any(0).nonzero()[:, 0]
        whole = len(columns) == mask.shape[1]

        def chosen(kept: Tensor) -> Tensor:
            found = kept.index_select(0, rows)
            return found if whole else found.index_select(2, columns)

        memory = [(chosen(keys), chosen(values)) for keys, values in pairs_of(self.memory)]
        return Rows([self.numbers[place] for place in places], cache_of(memory), mask[:, columns], self.tokens[rows])

    def joined(self, other: Rows) -> Rows:
        """The rows of both, padded on the left to one width."""
        if not self.numbers or not other.numbers:
            return self if self.numbers else other
        width = max(self.mask.shape[1], other.mask.shape[1])
        wider = [(width - rows.mask.shape[1], rows) for rows in (self, other)]
        layers = zip(*([_padded(pair, more) for pair in pairs_of(rows.memory)] for more, rows in wider), strict=True)
        return Rows(
            self.numbers + other.numbers,
            cache_of([(torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])) for a, b in layers]),
            torch.cat([pad(rows.mask, (more, 0)) for more, rows in wider]),
            torch.cat([self.tokens, other.tokens]),
        )


def _padded(pair: tuple[Tensor, Tensor], columns: int) -> tuple[Tensor, Tensor]:
    return pad(pair[0], (0, 0, columns, 0)), pad(pair[1], (0, 0, columns, 0))


def answers(
    model: Any,
    questions: Sequence[Tensor],
    limit: int,
    batch: int,
    done: Callable[[list[int]], bool],
    padding: int,
    prompt: Tensor | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[list[int]]:
    """Return the token ids of the answer to each question, with the token that ended it.

    Args:
        model: transformers model without its prompt, whose rows can be padded on the left and which caches.
        questions: token ids [n] of each question.
        limit: largest number of tokens of an answer.
        batch: fewest questions that are read in one pass, while there are as many.
        done: whether the tokens of an answer end it.
        padding: id of the padding token.
        prompt: embeddings that are read before each question: the same [P, D], or of its own [questions, P, D].
        progress: called whenever rows have ended, with the number of answered questions.
    """
    reader = Reader(model, questions, limit, padding, prompt)
    waiting = deque(sorted(range(len(questions)), key=lambda number: (-len(questions[number]), number)))
    slots = max(batch, min(MOST_ROWS, MOST_TOKENS // max(1, reader.width + limit)))
    at_once = max(batch, MOST_READ // max(1, reader.width - reader.room))
    found: list[list[int]] = [[] for _ in questions]
    running, answered = Rows([], [], torch.empty(0, 0), torch.empty(0)), set[int]()
    while waiting or running.numbers:
        free = slots - len(running.numbers)
        entering = bool(waiting) and free >= batch
        if entering:
            rows = reader.read([waiting.popleft() for _ in range(min(free, at_once, len(waiting)))])
        else:
            rows = reader.step(running)
        before = len(answered)
        for number, token in zip(rows.numbers, rows.tokens.tolist(), strict=True):
            if number not in answered:
                found[number].append(token)
                if len(found[number]) >= limit or done(found[number]):
                    answered.add(number)
        if len(answered) > before:
            progress(len(answered))
        going = [place for place, number in enumerate(rows.numbers) if number not in answered]
        if entering or (len(rows.numbers) - len(going)) * LEAVE >= len(rows.numbers):
            rows = rows.kept(going)
        running = running.joined(rows) if entering else rows
    return found


class Reader:
    """Reads questions and tokens into a memory of keys and values.

    Args:
        model: the model.
        questions: token ids of each question.
        limit: largest number of tokens of an answer.
        padding: id of the padding token.
        prompt: embeddings before each question, see `answers`.

    Attributes:
        width: tokens of the longest question, with the prompt.
        room: tokens of the prefix that was read once.
    """

    def __init__(
        self, model: Any, questions: Sequence[Tensor], limit: int, padding: int, prompt: Tensor | None
    ) -> None:
        self.model, self.questions, self.padding, self.prompt = model, questions, padding, prompt
        self.width = max(map(len, questions), default=0) + (0 if prompt is None else prompt.shape[-2])
        self.prefix: Pairs = []
        self.shared = self.room = 0
        window = backbone.of(model).window
        if window is None or self.width + limit <= window:  # windows count columns, and padding follows the prefix
            self._share()
        if self.prompt is not None and self.prompt.dim() == 2:
            self.prompt = self.prompt.expand(len(questions), -1, -1)

    def _share(self) -> None:
        """Read what all questions begin with, if that saves tokens. Its last token is left for each row to read."""
        same = self.prompt is None or self.prompt.dim() == 2
        common = shared_length(self.questions) if same else 0
        prompted = self.prompt is not None and same
        room = common + (len(self.prompt) if self.prompt is not None and same else 0)
        if room * (len(self.questions) - 1) < WORTH:
            return
        ids = self.questions[0][None, :common]
        prompt = self.prompt[None] if self.prompt is not None and prompted else None
        mask = torch.ones((1, room), dtype=torch.int64, device=self.model.device)
        memory = cache_of([])
        self._pass(ids, mask, memory, prompt)
        self.prefix = pairs_of(memory)
        self.shared, self.room, self.prompt = common, room, None

    def read(self, numbers: list[int]) -> Rows:
        """Read some questions, and give their rows with the first token of each answer."""
        rest = [self.questions[number][self.shared :] for number in numbers]
        ids = pad_sequence(rest, batch_first=True, padding_value=self.padding, padding_side="left")
        prompt = None if self.prompt is None else self.prompt[numbers]
        lengths = torch.tensor([len(each) for each in rest]) + (0 if prompt is None else prompt.shape[1])
        width = int(lengths.max())
        mask = (torch.arange(width) >= width - lengths[:, None]).long()
        mask = pad(mask, (self.room, 0), value=1).to(self.model.device)
        prefix = [(k.expand(len(rest), -1, -1, -1), v.expand(len(rest), -1, -1, -1)) for k, v in self.prefix]
        memory = cache_of(prefix)
        return Rows(numbers, memory, mask, self._pass(ids, mask, memory, prompt))

    def step(self, rows: Rows) -> Rows:
        """Read the newest token of each row, and give the rows with the next one."""
        mask = pad(rows.mask, (0, 1), value=1)
        return Rows(rows.numbers, rows.memory, mask, self._pass(rows.tokens[:, None], mask, rows.memory, None))

    def _pass(self, ids: Tensor, mask: Tensor, memory: Any, prompt: Tensor | None) -> Tensor:
        """One forward pass, which adds the keys and values of its columns to the memory.

        Args:
            ids: token ids [rows, n], padded on the left.
            mask: 1 where a column of the memory, the prompt or the ids holds a token of the row.
            memory: cache of keys and values of what stands before.
            prompt: embeddings [rows, P, D] right before the first token of each row.

        Returns:
            The likeliest next token of each row [rows].
        """
        ids = ids.to(self.model.device)
        read = {"input_ids": ids} if prompt is None else {"inputs_embeds": self._embedded(ids, mask, prompt)}
        count = next(iter(read.values())).shape[1]
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -count:]
        last = {"logits_to_keep": 1} if self.model._supports_logits_to_keep() else {}
        with torch.no_grad():
            out = self.model(
                **read, attention_mask=mask, position_ids=positions, past_key_values=memory, use_cache=True, **last
            )
        found: Tensor = out.logits[:, -1].float().argmax(-1)
        return found

    def _embedded(self, ids: Tensor, mask: Tensor, prompt: Tensor) -> Tensor:
        """Embeddings [rows, P + n, D] of padding, prompt and tokens; P columns more of padding than `ids` has."""
        size = prompt.shape[1]
        embedded: Tensor = self.model.get_input_embeddings()(pad(ids, (size, 0), value=self.padding))
        for row, start in enumerate((mask.shape[1] - mask.sum(1)).tolist()):
            embedded[row, start : start + size] = prompt[row]
        return embedded


def shared_length(questions: Sequence[Tensor]) -> int:
    """Number of tokens that all questions begin with, without the last token of the shortest question."""
    shortest = min(map(len, questions), default=1) - 1
    if len(questions) < 2 or shortest < 1:
        return 0
    heads = torch.stack([question[:shortest] for question in questions])
    same = (heads == heads[0]).all(0)
    return int(same.long().cumprod(0).sum())
