"""The kinds of nodes: which step computes each, and what it stands on."""

from __future__ import annotations

# Which of our modules computes a kind of node, and which libraries it stands on.
MODULES = {
    "tokenizer": "cl.steps.tokenizer",
    "data": "cl.steps.data",
    "base": "cl.steps.base",
    "train": "cl.steps.train",
    "consolidate": "cl.steps.consolidate",
    "merge": "cl.steps.merge",
    "select": "cl.steps.select",
    "teacher": "cl.steps.teacher",
    "evaluate": "cl.steps.evaluate",
    "trace": "cl.sample_order.trace",
    "grid": "cl.sample_order.steps",
    "order": "cl.sample_order.steps",
}
LIBRARIES = {
    "tokenizer": ("gguf", "tokenizers", "transformers"),
    "data": ("datasets", "pyarrow", "tokenizers", "transformers"),
    "base": ("gguf", "torch", "transformers"),
    "train": ("peft", "torch", "transformers", "pytorch-lightning"),
    "consolidate": ("peft", "torch", "transformers"),
    "merge": ("peft", "torch", "transformers"),
    "select": ("peft", "tokenizers", "torch", "transformers"),
    "teacher": ("peft", "torch", "transformers"),
    "evaluate": ("peft", "torch", "transformers"),
    "trace": ("peft", "torch", "transformers", "pytorch-lightning"),
    "grid": ("peft", "torch", "transformers"),
    "order": ("optuna", "peft", "scipy", "torch", "transformers"),
}
