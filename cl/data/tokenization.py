"""From documents to arrays of token ids: packed text and dialogues.

Text (`cl.data.text_rounds`): a split becomes one flat array of token ids, in which a document begins with a separator:

    SEP d1 d2 … SEP d1 d2 … SEP …

A document begins and ends as the tokenizer's own call begins and ends a text: where the call puts a BOS before it
(Llama, Mistral, Gemma), that is the separator; where it puts a token after it, the document ends with that token.

Row r holds tokens r*T … r*T+T (T = sequence length; T+1 ids, one shared with the next row). Inputs are the first T ids,
targets the last T. A separator starts a new segment; attention and positions stay inside a segment, and the last token
of a document still predicts the separator that ends it. So there is no padding, no token is lost except a tail shorter
than a row, and no token of a text is predicted from another document. A BOS is predicted from the document before, as
in the packed rows of transformers' own examples.

Instructions: an example is one row: the question in the model's chat template (`cl.data.chat`), the answer, the end of
turn. Only the answer and the end of turn are learned. Rows of unequal length are padded on the right with separators,
which are not learned and which no learned token attends to. A preference is two rows, the better answer first.

Passages: a passage is one row, framed as a document, and all of it is learned. Its twin is a row of the arrays
`SPLIT.twins`, which nothing trains on.

Articles: the document is one row, as a passage is, and all of it is learned, or the spans that a method has chosen
(`SPLIT.learned`). The questions about it are rows of the measured splits, as those of an instruction task;
`SPLIT.about` says which document each is about.

Views: a *view* of examples is text without chat markers: question, new line, answer (view `plain`); view `both` also
has the rejected answer as a document of its own. The question decides the split of a view as well, so test questions
are never trained on through a view.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cl.data.chat import Chat
from cl.errors import UserError
from cl.tasks.article import Article
from cl.tasks.documents import Document
from cl.tasks.example import Example
from cl.tasks.passage import Passage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


SEPARATOR = "<|endoftext|>"


def frame_of(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Token ids that the tokenizer's own call puts before and after a text.

    Raises:
        UserError: if the call encodes the text itself in another way.
    """
    whole, bare = (tokenizer("a", **given)["input_ids"] for given in ({}, {"add_special_tokens": False}))
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return list(whole[:start]), list(whole[start + len(bare) :])
    raise UserError("model.tokenizer: encodes a text in another way where it adds special tokens; use another one")


def separator_of(found: PreTrainedTokenizerBase) -> str:
    """Return the token that starts every document.

    The token that the tokenizer's own call puts before a text; else <|endoftext|> if the vocabulary has it, else eos,
    else bos.

    Raises:
        UserError: if the tokenizer has none of these tokens.
    """
    before, _ = frame_of(found)
    if before:
        return str(found.convert_ids_to_tokens(before[0]))
    candidates = [SEPARATOR if SEPARATOR in found.get_vocab() else None, found.eos_token, found.bos_token]
    for candidate in candidates:
        if candidate:
            return str(candidate)
    raise UserError("model.tokenizer: has neither <|endoftext|> nor an eos nor a bos token to separate documents")


def frame(tokenizer: Any, separator: int) -> tuple[list[int], list[int]]:
    """Token ids before and after each document."""
    before, after = frame_of(tokenizer)
    return before or [separator], [] if after == [separator] else after


def arrays_of(
    split: str, documents: Sequence[Document], tokenizer: Any, separator: int, chat: Chat | None
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a split, to be stored, of which each document has rows of its own; not of text.

    Args:
        split: name of the split.
        documents: documents of the split.
        tokenizer: transformers tokenizer.
        separator: id of the separator.
        chat: the tokenizer's chat template, see `dialogue`.

    Returns:
        `SPLIT`: token ids. For examples also `SPLIT.starts`: index of the first token of each row and the total;
        `SPLIT.answers`: number of tokens before each answer. For preferences also `SPLIT.pairs`: number of pairs. For
        passages also the same arrays of their twins. For articles of which parts are learned `SPLIT.learned`: whether
        each token is.
    """
    if documents and isinstance(documents[0], Passage):
        passages = [document for document in documents if isinstance(document, Passage)]
        studied = _as_rows(split, [found.text for found in passages], tokenizer, separator)
        return studied | _as_rows(f"{split}.twins", [found.twin for found in passages], tokenizer, separator)
    if documents and isinstance(documents[0], Article):
        articles = [document for document in documents if isinstance(document, Article)]
        rows = _as_rows(split, [found.text for found in articles], tokenizer, separator)
        if any(found.learned is not None for found in articles):
            rows[f"{split}.learned"] = learned_tokens(articles, tokenizer, separator)
        return rows
    if not documents:
        return {split: np.zeros(0, np.int32)}
    examples = [found for found in documents if isinstance(found, Example)]
    compared = any(found.rejected for found in examples)
    if compared:
        # of style phrase, because a worse answer need not be one of the labels
        worse = [Example(e.question, str(e.rejected), "phrase", history=e.history, asked=e.asked) for e in examples]
        examples = [one for pair in zip(examples, worse, strict=True) for one in pair]
    pairs = [dialogue(found, tokenizer, separator, chat) for found in examples]
    ids = [np.array([*question, *answer], dtype=np.int32) for question, answer in pairs]
    return {
        split: np.concatenate(ids),
        f"{split}.starts": np.cumsum([0, *map(len, ids)], dtype=np.int64),
        f"{split}.answers": np.array([len(question) for question, _ in pairs], dtype=np.int64),
        **({f"{split}.pairs": np.array([len(pairs) // 2])} if compared else {}),
    }


def _as_rows(name: str, texts: Sequence[str], tokenizer: Any, separator: int) -> dict[str, npt.NDArray[Any]]:
    """The arrays of texts of which each is one row."""
    before, after = frame(tokenizer, separator)
    ids = [[*before, *_plain(text, tokenizer), *(after or [separator])] for text in texts]
    return {
        name: np.array([token for row in ids for token in row], dtype=np.int32),
        f"{name}.starts": np.cumsum([0, *map(len, ids)], dtype=np.int64),
        f"{name}.answers": np.full(len(ids), len(before), dtype=np.int64),
    }


def learned_tokens(articles: Sequence[Article], tokenizer: Any, separator: int) -> npt.NDArray[np.bool_]:
    """Whether each token of the articles' rows is learned: those of its document that overlap a chosen span.

    Tokens around a document are learned where all of the document is.

    Args:
        articles: articles in the order of their rows.
        tokenizer: transformers tokenizer that tells the characters of its tokens.
        separator: id of the separator.

    Raises:
        UserError: for a tokenizer that does not.
    """
    before, after = frame(tokenizer, separator)
    found: list[bool] = []
    for article in articles:
        if not getattr(tokenizer, "is_fast", False):
            raise UserError("model.tokenizer: does not say which characters a token stands for; use a fast tokenizer")
        asked = {"add_special_tokens": False, "split_special_tokens": True, "return_offsets_mapping": True}
        offsets = tokenizer(article.text, **asked)["offset_mapping"]
        spans, whole = article.learned or (), article.learned is None
        inside = [whole or any(start < last and stop > first for first, last in spans) for start, stop in offsets]
        found += [*[whole] * len(before), *inside, *[whole] * len(after or [separator])]
    return np.array(found, dtype=np.bool_)


def as_text(document: Document, both: bool = False) -> list[str]:
    """Render a document as plain text without chat markers.

    Args:
        document: text, passage or article, of which the text is returned, or an example.
        both: also return a second text with the rejected answer.
    """
    if not isinstance(document, Example):
        return [str(document)]
    answers = [document.answer, *([document.rejected] if both and document.rejected else [])]
    return [f"{document.text}\n{answer}" for answer in answers]


def plain(example: Example, tokenizer: Any, separator: int) -> tuple[list[int], list[int]]:
    """Token ids of an example's plain view: question and new line as a document begins; answer, as a document ends."""
    before, after = frame(tokenizer, separator)
    ending = after or [end_of_text(tokenizer, separator)]
    return [*before, *_plain(example.text + "\n", tokenizer)], [*_plain(example.answer, tokenizer), *ending]


def dialogue(example: Example, tokenizer: Any, separator: int, chat: Chat | None = None) -> tuple[list[int], list[int]]:
    """Token ids of an example's question, and of its answer with the end of turn.

    The question is rendered by the chat template up to the assistant's answer, without it as a document that begins
    with the question and a new line. Text that a template writes after the end of turn is not learned.

    Args:
        example: example to encode.
        tokenizer: transformers tokenizer.
        separator: id of the separator.
        chat: the tokenizer's chat template; None: the tokenizer has none.

    Raises:
        UserError: for a question that holds the text of a special token, and for earlier turns without a chat template.
    """
    if held := [token for token in tokenizer.all_special_tokens if token in example.text]:
        raise UserError(f"question {example.question[:60]!r}: holds the special token {held[0]}; remove it")
    if chat is None and example.history:
        raise UserError("model.tokenizer: has no chat template, and so no turns of a dialogue; use a chat model's")
    if chat is None:
        question, _ = plain(example, tokenizer, separator)
        return question, [*_plain(example.answer, tokenizer), *ending_of(tokenizer, separator, None)]
    turn = chat.turn(example.question, example.history, example.asked)
    question = tokenizer(turn.question, add_special_tokens=False)["input_ids"]
    return question, [*_plain(turn.lead + example.answer, tokenizer), *chat.ending]


def chat_of(tokenizer: Any, system: str | None, arguments: Mapping[str, Any]) -> Chat | None:
    """The tokenizer's chat template, None if it has none.

    Raises:
        UserError: for settings of a template that the tokenizer does not have.
    """
    if tokenizer.chat_template:
        return Chat(tokenizer, system, arguments)
    if system is not None:
        raise UserError("model.system: the tokenizer has no chat template, and so no system turn; remove it")
    if arguments:
        raise UserError(f"model.template: {min(arguments)}: the tokenizer has no chat template; remove model.template")
    return None


def ending_of(tokenizer: Any, separator: int, chat: Chat | None) -> list[int]:
    """Token ids from the end of an answer to its end of turn; the last one ends an answer."""
    if chat is not None:
        return chat.ending
    return [separator if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)]


def end_of_text(tokenizer: Any, separator: int) -> int:
    """Id of the token after a text that is no dialogue: the separator, or eos where the separator is a BOS."""
    begins, _ = frame_of(tokenizer)
    return separator if not begins or tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)


def _plain(text: str, tokenizer: Any) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def passages(folder: Path, split: str) -> list[Passage]:
    """Read the passages of a split from the folder of their data node."""
    return [Passage(**raw) for raw in json.loads((folder / f"{split}.examples.json").read_text(encoding="utf-8"))]


def documents(folder: Path) -> list[str]:
    """Read the documents that a task of kind `reading` studies, without their questions, from its data node."""
    found: list[str] = json.loads((folder / "train.documents.json").read_text(encoding="utf-8"))
    return found


def memorable(folder: Path) -> Sequence[Example | str]:
    """Read what a memory may store of a task from its data node: training examples, or the documents to read."""
    return documents(folder) if (folder / "train.documents.json").exists() else examples(folder, "train")


def about(folder: Path, split: str) -> list[int]:
    """Read which document each question of a split is about; empty if the documents are not in the data node."""
    from safetensors.numpy import load_file

    found = load_file(folder / "tokens.safetensors").get(f"{split}.about")
    return [] if found is None else [int(number) for number in found]


def examples(folder: Path, split: str) -> list[Example]:
    """Read the examples of a split from the folder of the data node of an instruction or a reading task."""
    raw: list[dict[str, Any]] = json.loads((folder / f"{split}.examples.json").read_text(encoding="utf-8"))
    return [Example.parse(entry) for entry in raw]
