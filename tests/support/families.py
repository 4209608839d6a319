"""Tiny models of the causal families of transformers, each made from its configuration with random weights.

Sizes are given under all names that configurations have for them. Windows and chunks are 8 tokens, so documents of 9
and more tokens feel them; hybrid families have a layer of each kind.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

VOCABULARY, WINDOW = 64, 8
SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim"), 32),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "mamba_n_heads"), 4),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 64),
    **dict.fromkeys(("state_size", "mamba_d_state", "q_lora_rank", "kv_lora_rank", "v_head_dim", "head_dim"), 8),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "rotary_dim"), 4),
    **dict.fromkeys(("sliding_window", "attention_chunk_size", "attention_window_size", "window_size"), WINDOW),
    "num_key_value_heads": 2, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 16,
    "mamba_d_head": 16, "mamba_expand": 2, "vocab_size": VOCABULARY,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
HYBRID = ["linear_attention", "full_attention"]
WINDOWED = ["sliding_attention", "full_attention"]
LATENT = {"head_dim": 4, "num_key_value_heads": 4}
OWN: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {"layer_types": HYBRID},
    "bamba": {"attn_layer_indices": [1]},
    "cohere2": {"layer_types": WINDOWED},
    "dbrx": {"attn_config": {"clip_qkv": 8, "rope_theta": 1e4}},
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "exaone4": {"layer_types": WINDOWED},
    "falcon_alibi": {"alibi": True},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_groups": 1},
    "gemma2": {"layer_types": WINDOWED},
    "gemma3_text": {"layer_types": WINDOWED},
    "gemma4_text": {"hidden_size_per_layer_input": 4, "vocab_size_per_layer_input": 64, "num_kv_shared_layers": 0},
    "glm4_moe_lite": LATENT,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gpt_oss": {"layer_types": WINDOWED},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4},
    "kimi_linear": {"layer_types": HYBRID},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "llama4_text": {"layer_types": ["chunked_attention", "full_attention"]},
    "mamba2": {"num_heads": 8, "expand": 2, "n_groups": 1},
    "minicpm3": LATENT,
    "minimax": {"layer_types": HYBRID},
    "olmo3": {"layer_types": WINDOWED},
    "qwen2": {"use_sliding_window": True, "layer_types": WINDOWED},
    "qwen3": {"use_sliding_window": True, "layer_types": WINDOWED},
    "qwen3_5_text": {"layer_types": HYBRID},
    "qwen3_5_moe_text": {"layer_types": HYBRID},
    "qwen3_next": {"layer_types": HYBRID},
    "qwen4_exp_text": {"layer_types": HYBRID},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "youtu": LATENT,
    "zamba2": {"layers_block_type": ["mamba", "hybrid"], "n_mamba_heads": 4, "hybrid_layer_ids": [1]},
}


def config(family: str) -> Any:
    """A small configuration of a family."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = CONFIG_MAPPING[family.removesuffix("_alibi")]
    known = set(inspect.signature(kind.__init__).parameters)
    known |= {name for each in kind.__mro__ for name in vars(each).get("__annotations__", {})}
    return kind(**{name: value for name, value in SIZES.items() if name in known} | OWN.get(family, {}))


def model(family: str) -> Any:
    """A tiny model of a family in evaluation mode, with weights that are large enough for each layer to matter."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    found = AutoModelForCausalLM.from_config(config(family)).float().eval()
    for parameter in found.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return found
