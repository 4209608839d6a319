"""Chat models that write texts: a local transformers model, or a model behind an OpenAI-compatible HTTP endpoint.

The first attempt at a prompt is greedy; later attempts are sampled at `temperature`, each with its own seed. A text
that reaches the token limit counts as no text, "". `cl.models.text_cache` stores the texts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from typing import Any, Literal

from cl import construction
from cl.config.model import Model
from cl.data.chat import Chat
from cl.errors import UserError
from cl.models import pretrained
from cl.models.text_cache import Writer

WAIT = 1.0  # seconds before the second try of a request, doubled before each further one
PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses after which a further try may succeed


def build(settings: str | Mapping[str, Any]) -> Writer:
    """Build a writer from a model's name or from settings; settings with `url` mean an endpoint. Nothing is loaded."""
    given = {"model": settings} if isinstance(settings, str) else dict(settings)
    kind = EndpointWriter if "url" in given else LocalWriter
    writer: Writer = construction.construct(kind, kind.__name__, given, "writer")
    return writer


@dataclass(frozen=True)
class LocalWriter:
    """A local chat model of transformers, in fp32. Prompts that do not fit into its context get no text.

    Args:
        model: a directory, a packaged model or a hub id.
        revision: commit, tag or branch of a hub model.
        temperature: sampling temperature of attempts after the first.
        seed: seed of attempts after the first.
        tokens: token limit of a text.
        batch: texts written at once; it changes a text by no more than rounding.
        device: `cpu`, `cuda` or `auto`.
    """

    model: str
    revision: str | None = None
    temperature: float = 0.5
    seed: int = 0
    tokens: int = 256
    batch: int = 8
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        _check(self, batch=1)
        origin = pretrained.origin(self.model)
        if origin == "fresh":
            raise UserError(f"writer.model: {self.model} is a fresh model and cannot write; name a chat model")
        if origin == "hub" and self.revision is None:
            raise UserError(f"writer.revision: {self.model} on the hub can change; name a commit, tag or branch")

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The model's fingerprint and the settings of decoding, without the device."""
        source = pretrained.fingerprint(Model(self.model, self.revision))
        names = ("temperature", "seed", "tokens", "batch")
        return {"writer": "local", **source, **{name: getattr(self, name) for name in names}}

    @cached_property
    def _opened(self) -> tuple[Any, Any, set[int]]:
        """Tokenizer, model, and ids of the tokens that end its turn."""
        import torch

        from cl.models import decoding

        named = Model(self.model, self.revision)
        tokenizer = pretrained.load_tokenizer(named)
        if not tokenizer.chat_template:
            raise UserError(f"writer.model: {self.model} has no chat template; name a chat model")
        model = pretrained.create(named, len(tokenizer), 0, None, 0)
        device = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        ends = {*decoding.stated_ends(model), Chat(tokenizer).ending[-1]}
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token_id = min(ends)
        return tokenizer, model.to(device).eval(), ends

    def write(self, prompts: Sequence[str], attempt: int) -> list[str]:
        """Write a text for each prompt, as a user turn in the model's chat template."""
        from cl.models import backbone, decoding

        tokenizer, model, _ = self._opened
        able = backbone.of(model)
        turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
        chat = Chat(tokenizer)
        asked = [chat.render(turn, prompt=True) for turn in turns]
        context = able.context or float("inf")
        lengths = [len(ids) for ids in tokenizer(asked, add_special_tokens=False)["input_ids"]]
        fitting = [row for row, length in enumerate(lengths) if length + self.tokens <= context]
        texts: dict[int, str] = {}
        for rows in decoding.batches(fitting, lengths, len(fitting), able.padding == "none"):
            texts |= zip(rows, self._generate([asked[row] for row in rows], attempt), strict=True)
        return [texts.get(row, "") for row in range(len(prompts))]

    def _generate(self, asked: list[str], attempt: int) -> list[str]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        tokenizer, model, ends = self._opened
        inputs = tokenizer(asked, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt")
        noise = Sampled(self.temperature, f"{self.seed} {attempt}", tokenizer.pad_token_id)
        config = GenerationConfig(
            max_new_tokens=self.tokens,
            do_sample=False,
            num_beams=1,
            eos_token_id=sorted(ends),
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.no_grad():
            out = model.generate(
                input_ids=inputs["input_ids"].to(model.device),
                attention_mask=inputs["attention_mask"].to(model.device),
                generation_config=config,
                logits_processor=LogitsProcessorList([noise] if attempt and self.temperature else []),
            )
        rows = out[:, inputs["input_ids"].shape[1] :].tolist()
        return [tokenizer.decode(ids, skip_special_tokens=True) if ends & set(ids) else "" for ids in rows]


class Sampled:
    """Logits processor after which greedy decoding samples: argmax(logits / T + Gumbel noise) ~ softmax(logits / T).

    The noise of a row depends on the seed and the row's own tokens, so batch and padding do not change it.
    """

    def __init__(self, temperature: float, seed: str, padding: int) -> None:
        self.temperature, self.seed, self.padding = temperature, seed, padding

    def __call__(self, ids: Any, scores: Any) -> Any:
        """Noisy scores [B, V] after tokens ids [B, N]."""
        import torch

        return scores / self.temperature + torch.stack([self._noise(row, scores.shape[1]) for row in ids]).to(scores)

    def _noise(self, row: Any, size: int) -> Any:
        import torch

        own = [token for token in row.tolist() if token != self.padding]
        seed = int(hashlib.sha256(f"{self.seed} {own}".encode()).hexdigest()[:15], 16)
        uniform = torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return -torch.log(-torch.log(uniform))


@dataclass(frozen=True)
class EndpointWriter:
    """A chat model behind an OpenAI-compatible endpoint; each request asks for one text.

    Args:
        url: URL with the API version, such as http://localhost:8000/v1.
        model: name of the model on the server.
        revision: the user's description of the model's weights.
        key: environment variable that holds the API key; the key is neither stored nor printed.
        temperature: sampling temperature of attempts after the first.
        seed: seed of the requests; a server may ignore it.
        tokens: token limit of a text.
        timeout: time limit of a request, in seconds.
        tries: tries of a request that fails temporarily; the wait between tries doubles.
    """

    url: str
    model: str
    revision: str | None = None
    key: str | None = None
    temperature: float = 0.5
    seed: int = 0
    tokens: int = 256
    timeout: float = 120.0
    tries: int = 5

    def __post_init__(self) -> None:
        _check(self, tries=1)
        place = urllib.parse.urlsplit(self.url)
        if place.scheme not in ("http", "https") or not place.hostname or place.query or "@" in place.netloc:
            raise UserError("writer.url: must be http(s)://HOST/PATH, without a query and without a name or password")
        if self.key is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.key):
            raise UserError("writer.key: must be the name of an environment variable (A-Z, 0-9, _), not the key itself")
        if self.timeout <= 0:
            raise UserError(f"writer.timeout: {self.timeout} must be positive")

    @property
    def batch(self) -> int:
        """One text, so that every text is stored as soon as it is paid for."""
        return 1

    @property
    def identity(self) -> dict[str, Any]:
        """Endpoint, model and settings of decoding, without the key's name, the timeout and the tries."""
        names = ("url", "model", "revision", "temperature", "seed", "tokens")
        return {"writer": "endpoint", **{name: getattr(self, name) for name in names}}

    def write(self, prompts: Sequence[str], attempt: int) -> list[str]:
        """Write a text for each prompt; raises UserError if the server refuses, fails or returns no chat completion."""
        return [self._ask(prompt, attempt) for prompt in prompts]

    def _ask(self, prompt: str, attempt: int) -> str:
        content = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self.temperature if attempt else 0.0,
            "seed": self.seed + attempt,
            "max_tokens": self.tokens,
        }
        headers, secret = {"Content-Type": "application/json"}, self._secret()
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        place = f"{self.url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(place, json.dumps(content).encode(), headers)
        problem = ""
        for count in range(self.tries):
            time.sleep(WAIT * 2 ** (count - 1) if count else 0)
            try:
                with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout) as reply:
                    return self._text(reply.read())
            except urllib.error.HTTPError as error:
                body = error.read().decode(errors="replace").replace(secret or "\0", "***")
                problem = " ".join(f"HTTP {error.code} {body}".split())[:200]
                if error.code not in PASSING:
                    raise UserError(f"writer.url: {place} refused: {problem}") from None
            except (OSError, HTTPException) as error:
                problem = str(getattr(error, "reason", error)) or type(error).__name__
        remedy = "texts written before need no server, this one does: start it or check the address"
        raise UserError(f"writer.url: {place} failed {self.tries} times ({problem}); {remedy}")

    def _secret(self) -> str | None:
        if self.key is None:
            return None
        secret = os.environ.get(self.key, "").strip()
        if not re.fullmatch(r"[!-~]+", secret):
            raise UserError(f"writer.key: the environment variable {self.key} is not set to a key; export it")
        return secret

    def _text(self, body: bytes) -> str:
        try:
            choice = json.loads(body)["choices"][0]
            text = choice["message"]["content"]
        except (ValueError, LookupError, TypeError):
            raise UserError(f"writer.url: {self.url} answered with something else than a chat completion") from None
        return text if isinstance(text, str) and choice.get("finish_reason") != "length" else ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error, so that the API key is not sent to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _check(writer: LocalWriter | EndpointWriter, **least: int) -> None:
    for name, smallest in {"temperature": 0, "tokens": 1, **least}.items():
        if not smallest <= getattr(writer, name) < float("inf"):
            raise UserError(f"writer.{name}: {getattr(writer, name)} must be at least {smallest}")
