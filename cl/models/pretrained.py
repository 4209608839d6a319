"""Models and tokenizers: fresh from a named configuration, packaged, from a local directory, or from the hub."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from cl.config.model import Model
from cl.errors import UserError
from cl.models import model_folder, packaged

Origin = Literal["fresh", "packaged", "directory", "hub"]

UNLOADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError)
"""What transformers raises for folders and hub entries that it cannot load, or whose own code is wrong."""

_TRUSTS: ContextVar[bool] = ContextVar("trust_remote_code", default=False)


@contextmanager
def trusting(model: Model) -> Iterator[None]:
    """Context in which stored models and tokenizers may run their own code if the experiment's model may."""
    token = _TRUSTS.set(model.trust_remote_code)
    try:
        yield
    finally:
        _TRUSTS.reset(token)


@lru_cache
def table() -> dict[str, dict[str, dict[str, Any]]]:
    """Read models.yaml: {"fresh": {name: …}, "packaged": {name: …}}."""
    tables: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(Path(__file__).with_name("models.yaml").read_text())
    return tables


def origin(name: str) -> Origin:
    """Return the origin of a model, given by its name; raises UserError for an invalid name."""
    for kind in ("fresh", "packaged"):
        if name in table()[kind]:
            return kind
    if name and Path(name).is_dir():
        return "directory"
    if name.startswith((".", "/")) or name.count("/") != 1:
        known = [*table()["fresh"], *table()["packaged"]]
        raise UserError(f"model.name: {name!r} is no directory, no hub id (owner/name) and none of {', '.join(known)}")
    return "hub"


def fingerprint(model: Model) -> dict[str, Any]:
    """Return everything about a model's origin that can change results, as JSON data for keys; loads no model.

    Raises:
        UserError: for a hub model without a revision.
    """
    kind = origin(model.name)
    found: dict[str, Any] = {"origin": kind}
    if kind == "fresh":
        found["config"] = table()["fresh"][model.name]["config"]
    elif kind == "packaged":
        found |= packaged.identity(table()["packaged"][model.name])
    elif kind == "directory":
        found |= {"trust_remote_code": True} if model.trust_remote_code else {}
        found["content"] = model_folder.content(str(Path(model.name).resolve()))
    else:
        if model.revision is None:
            here = f"there is no folder {model.name} here, and a model on the hub can change"
            raise UserError(f"model.revision: {here}; correct model.name, or name a commit, tag or branch")
        found |= {"id": model.name, "revision": model.revision, "trust_remote_code": model.trust_remote_code}
    return found


def installed() -> list[str]:
    """Names of the packaged models that are installed."""
    return [name for name, entry in table()["packaged"].items() if packaged.is_installed(entry)]


def check_installed(model: Model) -> None:
    """Raises UserError if the model or its tokenizer comes in a package that is not installed."""
    for name in (model.name, model.tokenizer):
        if name is not None and origin(name) == "packaged":
            packaged.parts(name, table()["packaged"][name])


@contextmanager
def _source(model: Model) -> Iterator[tuple[str, dict[str, Any]]]:
    """Arguments of transformers' `from_pretrained` for a model that is not fresh, while the context is open."""
    if origin(model.name) == "packaged":
        with packaged.opened(model.name, table()["packaged"][model.name]) as path:
            yield str(path.parent), {"gguf_file": path.name}
    else:
        yield model.name, {"revision": model.revision, "trust_remote_code": model.trust_remote_code}


def tokenizer_model(model: Model) -> Model:
    """Return the model whose tokenizer is used.

    `revision` pins the model or the tokenizer; raises UserError if both are on the hub.
    """
    if model.tokenizer is None:
        return model
    if origin(model.tokenizer) == "hub" and origin(model.name) == "hub":
        raise UserError(f"model.tokenizer: {model.tokenizer} and the model are both on the hub; save it to a directory")
    return dataclasses.replace(model, name=model.tokenizer, tokenizer=None, knows=[])


def load_tokenizer(model: Model) -> Any:
    """Load the tokenizer of a model that is not fresh, or of the model that `model.tokenizer` names."""
    from transformers import AutoTokenizer

    chosen = tokenizer_model(model)
    if origin(chosen.name) == "fresh":
        raise UserError(f"model: {chosen.name} is a fresh model and has no tokenizer of its own; name another")
    try:
        with _source(chosen) as (place, options):
            return AutoTokenizer.from_pretrained(place, **options)
    except UserError:
        raise
    except Exception as error:  # for a damaged file `tokenizers` raises a plain Exception
        raise UserError(f"model: no tokenizer for {chosen.name!r}: {' '.join(str(error).split())}") from error


def stored_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a stored node."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=_TRUSTS.get())


def create(model: Model, vocabulary: int, separator: int, seed: int | None, sequence: int) -> Any:
    """Create or load the model before any training, in fp32.

    A fresh model is initialised by transformers under `seed`. A GGUF model is dequantised: it has the weights of the
    quantised file, not of the original checkpoint.

    Args:
        model: settings of the model.
        vocabulary: number of tokens of the tokenizer.
        separator: id of the separator; bos and eos of a fresh model.
        seed: seed of a fresh model; None: 0.
        sequence: tokens per row; the context of a fresh model is max(sequence, 512).

    Raises:
        UserError: if the model cannot be loaded.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if origin(model.name) == "fresh":
        settings = dict(table()["fresh"][model.name]["config"])
        config = AutoConfig.for_model(
            settings.pop("model_type"),
            **settings,
            vocab_size=vocabulary,
            max_position_embeddings=max(sequence, 512),
            bos_token_id=separator,
            eos_token_id=separator,
            tie_word_embeddings=False,
        )
        torch.manual_seed(seed or 0)
        return AutoModelForCausalLM.from_config(config).float()
    with _source(model) as (place, options):
        found = _opened(place, model.name, **options)
    _forget_quantisation(found)
    if wrong := [name for name, value in found.named_parameters() if not value.isfinite().all()]:
        raise UserError(f"model.name: {model.name!r}: {wrong[0]} holds NaN or infinity; download the weights again")
    return found


def _opened(place: str, name: str, **options: Any) -> Any:
    """Load a model in fp32.

    Raises:
        UserError: if it cannot be loaded, or if weights are missing, which transformers would draw at random.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        found, about = load(place, dtype=torch.float32, output_loading_info=True, **options)
    except (*UNLOADABLE, SafetensorError) as error:
        raise UserError(f"model.name: cannot load {name!r}: {' '.join(str(error).split())}") from error
    if missing := sorted(about["missing_keys"]):
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise UserError(f"model.name: {name!r}: its files have no weights for {some}; save the whole model")
    return found


def _forget_quantisation(model: Any) -> None:
    """Remove attributes that a dequantised GGUF model still has and that break `save_pretrained`."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False


def save(model: Any, folder: Path) -> None:
    """Write weights (safetensors) and configuration, for `from_pretrained(folder)` of plain transformers."""
    model.save_pretrained(folder, safe_serialization=True)


def load(folder: Path) -> Any:
    """Load the model of a stored node, in fp32."""
    found = _opened(str(folder), str(folder), trust_remote_code=_TRUSTS.get())
    found.get_input_embeddings().padding_idx = None  # this id is often the separator; torch trains no padding embedding
    return found


def stated_parameters(model: Model) -> float:
    """Number of parameters stated in `models.yaml`, without loading anything; infinity for other models."""
    kind = origin(model.name)
    return float(table()[kind][model.name]["parameters"]) if kind in ("fresh", "packaged") else float("inf")


def parameters(model: Model) -> int:
    """Number of parameters for cost estimates, from `models.yaml` or else from the model's configuration."""
    if origin(model.name) in ("fresh", "packaged"):
        return int(stated_parameters(model))
    return sum(p.numel() for p in Outline(model).model.parameters())


class Outline:
    """A model without weights (meta device), made from its configuration when it is first asked for.

    Args:
        settings: settings of the model.
    """

    def __init__(self, settings: Model) -> None:
        self.settings, self.origin = settings, origin(settings.name)

    @cached_property
    def model(self) -> Any:
        """The model. Raises UserError if its configuration cannot be used."""
        from accelerate import init_empty_weights
        from transformers import AutoConfig, AutoModelForCausalLM

        trust = self.settings.trust_remote_code
        try:
            if self.origin in ("fresh", "packaged"):
                config = AutoConfig.for_model(**table()[self.origin][self.settings.name]["config"])
            else:
                with _source(self.settings) as (place, options):
                    config = AutoConfig.from_pretrained(place, **options)
            with init_empty_weights():
                return AutoModelForCausalLM.from_config(config, trust_remote_code=trust)
        except UNLOADABLE as error:
            reason = " ".join(str(error).split())
            raise UserError(f"model.name: cannot use the configuration of {self.settings.name!r}: {reason}") from error
