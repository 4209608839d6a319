r"""Generate copyright traps (arXiv 2402.09363) with a pretrained model: text for a general set that is inserted.

    python experiments/write_traps.py --model=smollm2-135m-instruct --tokens=25 --each=2 --out=traps.txt

The model samples sequences from the separator at temperatures from 0.5 to 4; a sequence is kept if its whole perplexity
has room, it resembles no other, and its text is encoded into the very same tokens. The file has one trap per paragraph,
in random order of perplexity, for `{source: files, path: traps.txt, separator: "\n\n"}`. Insert as many `tokens` of it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import script
import torch
from jsonargparse import auto_cli

from cl.config.model import Model
from cl.data.tokenization import separator_of
from cl.data.traps import Quota
from cl.errors import UserError
from cl.models import pretrained

TEMPERATURES = [0.5 * step for step in range(1, 9)]  # of 2402.09363, for 25 and 50 tokens
BATCH = 64


def generate(
    model: str,
    tokens: int = 25,
    each: int = 2,
    lowest: int = 1,
    highest: int = 100,
    rounds: int = 50,
    seed: int = 0,
    out: str = "traps.txt",
) -> None:
    """Write traps.

    Args:
        model: name or folder of a pretrained model, which the experiment should start from.
        tokens: tokens of a trap.
        each: traps for each whole perplexity.
        lowest: smallest whole perplexity.
        highest: largest whole perplexity.
        rounds: rounds through the temperatures after which to give up.
        seed: seed of the sampling.
        out: the file.

    Raises:
        UserError: if perplexities lack traps after all rounds.
    """
    torch.manual_seed(seed)
    chosen = Model(name=model)
    tokenizer = pretrained.load_tokenizer(chosen)
    separator = tokenizer.get_vocab()[separator_of(tokenizer)]
    loaded = pretrained.create(chosen, len(tokenizer), separator, None, tokens + 1).eval()
    quota, texts = Quota(each, lowest, highest), list[str]()
    for _ in range(rounds):
        for temperature in TEMPERATURES:
            for ids, perplexity in sampled(loaded, separator, tokens, temperature):
                text = faithful(tokenizer, ids)
                if text is not None and quota.offer(ids, perplexity):
                    texts.append(text)
        print(f"{len(texts)} of {each * (highest - lowest + 1)} traps", file=sys.stderr)
        if not quota.lacking:
            break
    else:
        few = f"perplexities {quota.lacking[:5]} lack traps after {rounds} rounds"
        raise UserError(f"rounds: {few}; raise rounds, or ask for fewer")
    random.Random(seed).shuffle(texts)
    Path(out).write_text("\n\n".join(texts) + "\n", encoding="utf-8")


def sampled(model: Any, separator: int, tokens: int, temperature: float) -> Iterator[tuple[list[int], float]]:
    """Sample a batch of sequences from the separator; yield their ids and their perplexity at temperature 1."""
    start = torch.full((BATCH, 1), separator)
    with torch.no_grad():
        rows = model.generate(
            input_ids=start, attention_mask=torch.ones_like(start), do_sample=True, temperature=temperature, top_k=0,
            top_p=1.0, max_new_tokens=tokens, min_new_tokens=tokens, pad_token_id=separator,
        )  # fmt: skip
        log_p = model(input_ids=rows[:, :-1]).logits.float().log_softmax(-1)
    nll = -log_p.gather(2, rows[:, 1:, None])[:, :, 0].mean(1)
    yield from zip(rows[:, 1:].tolist(), nll.exp().tolist(), strict=True)


def faithful(tokenizer: Any, ids: list[int]) -> str | None:
    """The text of a sequence; None if it is not encoded into the same ids, or would be split or stripped in a file."""
    text = str(tokenizer.decode(ids))
    same = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] == ids
    return text if same and text == text.strip() and text.splitlines() == [text] else None


if __name__ == "__main__":
    script.run(lambda settings: auto_cli(generate, args=settings, as_positional=False))
