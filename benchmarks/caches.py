"""Size and accuracy of caches of a teacher's predictions: bytes per token, divergence, error of the student's gradient.

    python benchmarks/caches.py [--model=smollm2-135m-instruct] [--tokens=512] [--draws=64]

The teacher is the packaged model on the first documents of `medicine_mixture`; the student is a noisy copy of its
logits. The *pull* is the gradient of the divergence by the student's logits.

* noise: root mean square over tokens of (pull of one cache - exact pull), relative to the exact pull of plain
  distillation.
* bias: the same for the mean over `draws` caches; for an unbiased cache it falls with the square root of `draws`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from jsonargparse import auto_cli
from torch import Tensor

if Path(sys.path[0]) == Path(__file__).parent:  # `strategies` below is the package, not the benchmark here
    sys.path.pop(0)

from cl.config.model import Model
from cl.models import pretrained
from cl.models.distillation import Dense, Sampled, divergence, sample
from cl.tasks import scenario

COUNTS = (4, 16, 64)


def teacher_of(name: str, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Teacher's data on running text.

    Returns:
        Final hidden states [n, D], the output layer's weight [V, D], and the true next tokens [n].
    """
    model = Model(name=name)
    tokenizer, defined = pretrained.load_tokenizer(model), scenario.load("medicine_mixture")
    text = "\n\n".join(map(str, scenario.split(defined.tasks["medicine"], defined).train))
    ids = torch.tensor([tokenizer(text)["input_ids"][: tokens + 1]])
    loaded = pretrained.create(model, len(tokenizer), 0, None, tokens).eval()
    with torch.no_grad():
        hidden = loaded.get_decoder()(ids[:, :-1]).last_hidden_state[0]
    return hidden, loaded.get_output_embeddings().weight.detach(), ids[0, 1:]


def main(model: str = "smollm2-135m-instruct", tokens: int = 512, draws: int = 64) -> None:
    """Print the table.

    Args:
        model: name of the teacher.
        tokens: tokens of text.
        draws: caches per kind of sampled cache.
    """
    torch.manual_seed(0)
    hidden, head, gold = teacher_of(model, tokens)
    logits = hidden @ head.T
    log_p = logits.log_softmax(-1)
    log_q = (logits + torch.randn_like(logits) * 0.5).log_softmax(-1)
    q = log_q.exp()
    exact = divergence(log_q, q, Dense(log_p), gold, swap=True)
    plain = divergence(log_q, q, Dense(log_p), gold, swap=False).slope
    print(f"{model}, {tokens} tokens, vocabulary {logits.shape[1]}; swapped at {exact.swapped.float().mean():.0%}")
    print(f"{'cache':14} {'bytes/token':>11} {'KL':>7} {'swap':>7} {'noise':>7} {'bias':>7}")
    row("exact", 0, exact.kl, exact.swap, 0.0, 0.0)
    half = (hidden.half().float() @ head.T).log_softmax(-1)
    of = divergence(log_q, q, Dense(half), gold, swap=True)
    off = float((of.slope - exact.slope).norm() / plain.norm())
    row("hidden fp16", 2 * hidden.shape[1], of.kl, of.swap, off, off)
    for largest in (False, True):
        for count in COUNTS:
            kept = lambda count=count, largest=largest: sample(log_p, gold, count, largest)  # noqa: E731
            name = f"{'top' if largest else 'sampled'} {count}"
            spread(name, kept, log_q, q, gold, exact.slope, plain.norm(), 1 if largest else draws)


def spread(
    name: str, kept: Callable[[], Sampled], log_q: Tensor, q: Tensor, gold: Tensor, exact: Tensor, norm: Tensor,
    draws: int,
) -> None:  # fmt: skip
    """Print one line of the table: caches of one kind, made `draws` times.

    Args:
        name: name of the line.
        kept: makes one cache.
        log_q: the student's log-probabilities [n, V].
        q: the student's probabilities [n, V].
        gold: the true tokens [n].
        exact: exact pull [n, V].
        norm: norm of the exact pull of plain distillation.
        draws: number of caches.
    """
    total, noise, kl = torch.zeros_like(exact), 0.0, 0.0
    for _ in range(draws):
        of = divergence(log_q, q, kept(), gold, swap=True)
        total += of.slope / draws
        noise += float((of.slope - exact).norm() / norm) / draws
        kl += float(of.kl.mean()) / draws
    count = kept().ids.shape[1]
    size = (8 if draws == 1 else 4) * count + 16
    row(name, size, torch.tensor(kl), of.swap, noise, float((total - exact).norm() / norm))


def row(name: str, size: int, kl: Tensor, swap: Tensor, noise: float, bias: float) -> None:
    """Print one line of the table."""
    print(
        f"{name:14} {size:11,} {float(kl.mean()):7.4f} {float(swap.mean()):7.4f} {noise:7.3f} {bias:7.3f}", flush=True
    )


if __name__ == "__main__":
    auto_cli(main)
