"""Planned graphs of the toy experiment."""

from __future__ import annotations

from cl.config import loading
from cl.graph import planner
from cl.graph.planner import Graph, RunPlan

RETAIN = '\nretain:\n  kept: {sources: [{source: files, path: kept.txt, separator: "\\n\\n"}]}\n'
BOTH = "--strategies={finetune: , rewarm_replay: }"


def planned(*overrides: str) -> Graph:
    return planner.build(loading.load("toy.yaml", list(overrides)))


def by_label(found: Graph) -> dict[str, RunPlan]:
    return {run.strategy.label: run for run in found.runs}


def keys(run: RunPlan) -> list[str]:
    return [stage.node.key for stage in run.stages]


def write_pretrained() -> None:
    """A Llama of 0.02 M parameters with its tokenizer in ./model, as `save_pretrained` leaves them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator([], trainers.BpeTrainer(special_tokens=["<eos>"], initial_alphabet=alphabet))
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<eos>").save_pretrained("model")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    LlamaForCausalLM(LlamaConfig(vocab_size=260, **shape)).save_pretrained("model")


def of_pretrained(*overrides: str) -> Graph:
    return planned("--model={name: ./model, knows: [english]}", BOTH, *overrides)
