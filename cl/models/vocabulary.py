"""A larger vocabulary for a pretrained model: rows of the embeddings for tokens that it did not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from cl.config.model import Model
from cl.errors import UserError

How = Literal["pieces", "mean"]


def added(model: Model) -> tuple[str, ...]:
    """The tokens that `model.add_tokens` adds, from the list or from the file with a token in each line.

    Raises:
        UserError: for a file that cannot be read, an empty token, a token that is listed twice, and no token.
    """
    given = model.add_tokens
    if given is None:
        return ()
    if isinstance(given, str):
        try:
            given = Path(given).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"model.add_tokens: {model.add_tokens}: {error}; give a text file, or a list") from error
    if not given or not all(token.strip() for token in given):
        raise UserError("model.add_tokens: holds no token, or an empty one; give one token in each line")
    if twice := [token for token in given if given.count(token) > 1]:
        raise UserError(f"model.add_tokens: {twice[0]!r} is listed twice; list it once")
    return tuple(given)


def add(tokenizer: Any, tokens: tuple[str, ...]) -> None:
    """Add tokens to a tokenizer; they are found in a text before all others.

    Raises:
        UserError: for a token that the tokenizer has already, and for one that it does not give back as written: a
            byte-level decoder reads letters such as ß as bytes in a token without a space.
    """
    known = tokenizer.get_vocab()
    if old := [token for token in tokens if token in known]:
        raise UserError(f"model.add_tokens: {old[0]!r} is a token of the tokenizer already; leave it out")
    tokenizer.add_tokens(list(tokens))
    for token in tokens:
        if (read := tokenizer.decode([tokenizer.convert_tokens_to_ids(token)])) != token:
            raise UserError(
                f"model.add_tokens: {token!r} is given back as {read!r} by the tokenizer; write it with the space that "
                "stands before it, or name a tokenizer that has it"
            )


def extend(model: Any, own: Any, tokenizer: Any, how: How) -> None:
    """Give a model embeddings for the tokens that its own tokenizer does not have. Tied weights stay tied.

    A new token begins as the mean of the embeddings of the pieces in which the model's own tokenizer reads its text, or
    as the mean of all embeddings; an output layer of its own begins likewise. transformers would draw them at random.

    Args:
        model: the model.
        own: the model's own tokenizer.
        tokenizer: the tokenizer that extends it.
        how: `pieces` or `mean`.

    Raises:
        UserError: if the tokenizer numbers the model's tokens in another way.
    """
    import torch

    theirs, ours = tokenizer.get_vocab(), own.get_vocab()
    if moved := [token for token, number in ours.items() if theirs.get(token) != number]:
        raise UserError(
            f"model.tokenizer: numbers {moved[0]!r} in another way than the model's own tokenizer; use one that only "
            "adds tokens to it"
        )
    old, new = max(ours.values()) + 1, len(tokenizer)
    if model.get_input_embeddings().weight.shape[0] < new:
        model.resize_token_embeddings(new, mean_resizing=False)
    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    matrices = {id(layer.weight): layer.weight for layer in layers if layer is not None}
    texts = [tokenizer.decode([number], skip_special_tokens=False) for number in range(old, new)]
    pieces = [own(text, add_special_tokens=False)["input_ids"] if how == "pieces" else [] for text in texts]
    with torch.no_grad():
        for matrix in matrices.values():
            mean = matrix[:old].mean(0)
            for number, parts in enumerate(pieces, old):
                matrix[number] = matrix[parts].mean(0) if parts else mean
