"""Tiny random models of every text architecture that transformers can build from its config, each a plain folder.

A config's own defaults are shrunk by the names of their fields, which most architectures share; `SPECIAL` has what is said of
one alone. What cannot be built, or trained by plain transformers (one forward, one backward), is left out with a word on why.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any

VOCABULARY = 800
PAD, BEGIN, END, MASK, UNKNOWN = range(5)
_POSITIONS = 256
_ROW = 32  # tokens of the row that plain transformers is tried with
_LARGEST = 20_000_000  # parameters of a model that counts as tiny

# By the name of a config's field: the first that fits. A value is taken only where the default is of its kind.
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "src_vocab_size": VOCABULARY, "tgt_vocab_size": VOCABULARY,
    "hidden_size": 64, "d_model": 64, "n_embd": 64, "dim": 64, "emb_dim": 64, "embedding_size": 64, "emb_size": 64,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "num_decoder_layers": 2, "encoder_layers": 2,
    "decoder_layers": 2, "num_encoder_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4,
    "num_key_value_heads": 2, "num_kv_heads": 2,
    "intermediate_size": 128, "ffn_dim": 128, "d_ff": 128, "d_inner": 128, "n_inner": 128, "hidden_dim": 128, "dff": 128,
    "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "ffn_hidden_size": 128, "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32, "shared_intermediate_size": 32, "expert_ffn_hidden_size": 32,
    "intermediate_size_mlp": 128, "block_ff_dim": 128,
    "head_dim": 16, "d_kv": 16, "attention_head_size": 16, "global_head_dim": 16,
    "max_position_embeddings": _POSITIONS, "n_positions": _POSITIONS, "max_seq_len": _POSITIONS, "max_length": _POSITIONS,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "num_experts_per_tok": 2,
    "num_experts_per_token": 2, "moe_topk": 2, "moe_k": 2, "moe_top_k": 2, "top_k_experts": 2, "n_group": 1, "topk_group": 1,
    "num_expert_groups": 1,
    "kv_lora_rank": 16, "q_lora_rank": 32, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16, "o_lora_rank": 16,
    "state_size": 8, "mamba_d_state": 8, "mamba_d_head": 16, "mamba_n_heads": 8, "mamba_headdim": 16, "mamba_num_heads": 8,
    "mamba_head_dim": 16, "n_mamba_heads": 2, "ssm_state_size": 8, "mamba_n_groups": 1, "mamba_ngroups": 1, "n_groups": 1,
    "mamba_chunk_size": 16, "chunk_size": 16, "lru_width": 64, "sliding_window": 32, "attention_window": 16, "window_size": 32,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    "hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": VOCABULARY,
    "moe_shared_expert_intermediate_size": 32, "decoder_start_token_id": END, "forced_eos_token_id": END,
    "pad_token_id": PAD, "bos_token_id": BEGIN, "eos_token_id": END, "cls_token_id": BEGIN, "sep_token_id": END,
}  # fmt: skip


def field_names(config_class: Any) -> dict[str, Any]:
    """The fields of a config class that say what its model is, with their defaults (None where there is none)."""
    own = {}
    for field in dataclasses.fields(config_class):
        own[field.name] = None if field.default is dataclasses.MISSING else field.default
    return own


def shrunk(config_class: Any, more: dict[str, Any]) -> Any:
    """A config of that class, tiny."""
    known, renamed = field_names(config_class), set(getattr(config_class, "attribute_map", {}))
    chosen = {}
    for name, value in _SIZES.items():
        if name in known and name not in renamed:
            default = known[name]
            if isinstance(default, list | tuple) and name not in ("eos_token_id",):
                continue
            if default is None and name in (
                "head_dim",
                "lru_width",
                "n_inner",
                "num_kv_heads",
                "sliding_window",
                "window_size",
            ):
                continue
            chosen[name] = value
    for name, part in getattr(config_class, "sub_configs", {}).items():
        if (
            name not in more
            and part is not None
            and dataclasses.is_dataclass(part)
            and "vocab_size" in field_names(part)
        ):
            chosen[name] = shrunk(part, {}).to_dict()
    if "kv_lora_rank" in known and "num_key_value_heads" in chosen:  # of latents, which every head has to itself
        chosen["num_key_value_heads"] = chosen["num_attention_heads"]
    return config_class(**{**chosen, **more})


def text_architectures() -> dict[str, str]:
    """Model types by name, and what each is: "encoder", "decoder" or "encoder-decoder"."""
    from transformers.models.auto import modeling_auto as auto

    seq2seq = dict.fromkeys(auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, "encoder-decoder")
    masked = dict.fromkeys(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, "encoder")
    decoders = dict.fromkeys(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "decoder")
    others = dict.fromkeys(auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, "encoder")
    return dict(sorted({**others, **decoders, **masked, **seq2seq}.items()))


@dataclasses.dataclass(frozen=True)
class Like:
    """A part of a config that is one of another model type, tiny as that is, with `more` of its own."""

    model_type: str
    more: dict[str, Any] = dataclasses.field(default_factory=dict)


_HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
_SIGHT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 56,
    "patch_size": 14,
}  # fmt: skip
_DEEP_SIGHT = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
_FRAMED_SIGHT = {
    "hidden_size": 32, "output_channels": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64,
    "patch_size": 16, "mlp_dim": 64, "global_attn_indexes": [0],
}  # fmt: skip
_ROTARY = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]}
_QWEN4 = _HYBRID | {
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 16,
    "indexer_budget": 64,
    "indexer_compress_ratio": 4,
}
_GEMMA = Like("gemma3_text", {"num_key_value_heads": 2, "head_dim": 16})
SPECIAL: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "codegen": {"rotary_dim": 8},
    "esmc": {"num_key_value_heads": 4},
    "falcon_h1": {"mamba_d_ssm": 128},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 8},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "jamba": {"num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longformer": {"attention_window": 16},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 1},
    "qwen3_5_moe_text": _HYBRID,
    "qwen3_5_text": _HYBRID,
    "qwen3_next": _HYBRID,
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"sliding_attention": _ROTARY, "full_attention": _ROTARY},
    },
    "dots1": {"n_shared_experts": 1, "first_k_dense_replace": 1},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "kimi_linear": _HYBRID | {"linear_head_dim": 16, "linear_num_heads": 4, "mlp_layer_types": ["dense", "sparse"]},
    "layoutlmv3": {"coordinate_size": 10, "shape_size": 12},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "lilt": {"channel_shrink_ratio": 4, "hidden_size": 96},
    "longcat_flash": {"num_layers": 1, "head_dim": 8},
    "ministral": {"head_dim": 16},
    "qwen4_exp_text": _QWEN4,
    "bailing_hybrid": _HYBRID,
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {"axial_pos_embds": False, "attn_layers": ["local", "local"], "local_attn_chunk_length": 16},
    "roc_bert": {"pronunciation_vocab_size": 50, "shape_vocab_size": 50},
    "xlstm": {"num_heads": 4, "num_blocks": 2},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "qwen4_exp": {"text_config": Like("qwen4_exp_text"), "vision_config": _DEEP_SIGHT},
    "qwen3_5": {"text_config": Like("qwen3_5_text"), "vision_config": _DEEP_SIGHT},
    "qwen3_5_moe": {"text_config": Like("qwen3_5_moe_text"), "vision_config": _DEEP_SIGHT},
    "luke": {"entity_vocab_size": 50, "entity_emb_size": 16},
    "perceiver": {
        "d_latents": 64, "num_latents": 16, "num_self_attends_per_block": 2, "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4, "num_blocks": 1,
    },
    "gemma3": {"text_config": Like("gemma3_text"), "vision_config": _SIGHT, "mm_tokens_per_image": 4, "image_token_index": 799},
    "gemma3n_text": {
        "num_kv_shared_layers": 0, "layer_types": ["sliding_attention", "full_attention"],
        "activation_sparsity_pattern": [0.0, 0.0], "laurel_rank": 8,
    },
    "git": {"vision_config": _SIGHT},
    "fuyu": {"text_config": Like("persimmon")},
    "modernvbert": {"text_config": Like("modernbert"), "vision_config": _SIGHT},
    "got_ocr2": {"text_config": Like("qwen2"), "vision_config": _FRAMED_SIGHT},
    "phi4_multimodal": {
        "vision_config": _SIGHT,
        "audio_config": {"hidden_size": 32, "intermediate_size": 64, "num_blocks": 1, "num_attention_heads": 2},
    },
    "encoder-decoder": {"encoder": Like("bert"), "decoder": Like("bert", {"is_decoder": True, "add_cross_attention": True})},
    "t5gemma2": {
        "encoder": {
            "text_config": _GEMMA, "vision_config": _SIGHT, "mm_tokens_per_image": 4, "vocab_size": VOCABULARY
        },
        "decoder": _GEMMA,
        "image_token_index": 799,
    },
    "zaya": {"num_experts_per_tok": 1},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"]},
    "zamba2": {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"]},
}  # fmt: skip


TOKENIZERS = ("template", "byte-level", "wordpiece", "unigram")
_ENDS = {"encoder": "<s> $A </s>", "decoder": "<s> $A", "encoder-decoder": "$A </s>"}
_PAIR_ENDS = {"encoder": "<s> $A </s> $B </s>", "decoder": "<s> $A $B", "encoder-decoder": "$A $B </s>"}
_SPECIAL = ["<pad>", "<s>", "</s>", "<mask>", "<unk>"]


def tokenizer_of(kind: str, role: str, texts: Iterable[str]) -> Any:
    """A fast tokenizer of one of `TOKENIZERS`, learned from the texts, that begins and ends a text as the role's models do."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    if kind in ("template", "byte-level"):
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=_SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )  # fmt: skip
    elif kind == "wordpiece":
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=_SPECIAL, show_progress=False)
    else:
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=VOCABULARY, special_tokens=_SPECIAL, unk_token="<unk>", show_progress=False
        )
    made.train_from_iterator(texts, trainer)
    if kind == "byte-level":
        made.post_processor = processors.ByteLevel(trim_offsets=False)
    else:
        ends = [("<s>", BEGIN), ("</s>", END)]
        made.post_processor = processors.TemplateProcessing(
            single=_ENDS[role], pair=_PAIR_ENDS[role], special_tokens=ends
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>",
        mask_token="<mask>", unk_token="<unk>", model_max_length=_POSITIONS,
    )  # fmt: skip


def plain_step(model: Any, role: str) -> None:
    """One forward and one backward pass of two rows, one of them padded, in plain transformers. Raises where it cannot."""
    import torch

    ids = torch.randint(UNKNOWN + 1, VOCABULARY // 2, (2, _ROW))
    mask = torch.ones_like(ids)
    ids[:, 0], ids[0, -1], ids[1, -6], ids[1, -5:], mask[1, -5:] = BEGIN, END, END, PAD, 0
    taken = inspect.signature(model.forward).parameters
    more = {"attention_mask": mask} if "attention_mask" in taken else {}
    if role == "encoder-decoder":
        more["decoder_input_ids"] = ids
    found = model.train()(input_ids=ids, **more)
    total = found.logits.float().sum() if hasattr(found, "logits") else found[0].float().sum()
    if not bool(total.isfinite()):
        raise ValueError("its logits are not finite")
    total.backward()
    model.zero_grad()


def _resolved(value: Any) -> Any:
    """The same with the configs that parts are like in their places."""
    from transformers import CONFIG_MAPPING

    if isinstance(value, Like):
        own = _resolved(SPECIAL.get(value.model_type, {})) | value.more
        return shrunk(CONFIG_MAPPING[value.model_type], own).to_dict()
    return {name: _resolved(part) for name, part in value.items()} if isinstance(value, dict) else value


def model_of(name: str, role: str) -> Any:
    """A tiny random model of that type, with the head that its checkpoints have. Raises whatever transformers does."""
    import torch
    from transformers import (
        CONFIG_MAPPING,
        AutoModelForCausalLM,
        AutoModelForMaskedLM,
        AutoModelForSeq2SeqLM,
        AutoModelForSequenceClassification,
    )

    begins = {"decoder_start_token_id": END} if role == "encoder-decoder" else {}
    config = shrunk(CONFIG_MAPPING[name], begins | _resolved(SPECIAL.get(name, {})))
    wanted: Any = {"encoder": AutoModelForMaskedLM, "decoder": AutoModelForCausalLM}.get(role, AutoModelForSeq2SeqLM)
    if type(config) not in wanted._model_mapping:
        wanted = AutoModelForSequenceClassification
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in wanted.from_config(config).parameters())
    if size > _LARGEST:
        raise ValueError(f"its config does not make it small: {size:,} parameters")
    torch.manual_seed(0)
    return wanted.from_config(config)
