"""Turn a Llama-architecture GGUF file into a Hugging Face folder that vLLM loads with its ordinary code.

    .vllm/venv/bin/python scripts/vllm/gguf_to_hf.py FILE.gguf FOLDER [--layers N]

Written for SmolLM2-135M-Instruct; needs `numpy` and `gguf`. Weights are dequantised and stored as bfloat16.
Formats: GGUF (ggml's docs/gguf.md) and safetensors (8-byte little-endian header length, JSON header, raw tensors).
"""

# mypy: ignore-errors
# It runs in vLLM's environment; the project's own has neither numpy nor gguf.

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, dequantize

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTER_NAMES = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}
CONTROL_TOKEN = 3
"""GGUF's token type of special tokens."""


class Source:
    """A GGUF file and its metadata by key."""

    def __init__(self, path: Path) -> None:
        self.reader = GGUFReader(str(path))
        if self["general.architecture"] != "llama" or self["tokenizer.ggml.model"] != "gpt2":
            raise SystemExit(f"{path}: only a llama architecture with a gpt2 tokenizer is understood")

    def __getitem__(self, key: str) -> Any:
        return self.reader.fields[key].contents()


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 as bfloat16 bits: the upper half, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def rotary_halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's order of the rotary dimensions: it interleaves what Hugging Face keeps as two halves."""
    rows, *rest = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, *rest).swapaxes(1, 2).reshape(weight.shape)


def renamed(name: str, layers: int) -> str | None:
    """Hugging Face's name of a GGUF tensor; None for one that is not wanted."""
    head, *rest = name.split(".")
    if head == "blk":
        return f"model.layers.{rest[0]}.{LAYER_NAMES[rest[1]]}.weight" if int(rest[0]) < layers else None
    return OUTER_NAMES.get(head)


def tensors(source: Source, layers: int) -> dict[str, np.ndarray]:
    """Every wanted tensor by its Hugging Face name, as bfloat16 bits."""
    heads = {"q_proj": source["llama.attention.head_count"], "k_proj": source["llama.attention.head_count_kv"]}
    found: dict[str, np.ndarray] = {}
    for tensor in source.reader.tensors:
        name = renamed(tensor.name, layers)
        if name is None:
            continue
        shape = [int(size) for size in reversed(tensor.shape)]
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape)
        projection = name.split(".")[-2]
        found[name] = to_bfloat16(rotary_halves(weight, heads[projection]) if projection in heads else weight)
    return found


def write_safetensors(path: Path, found: dict[str, np.ndarray]) -> None:
    """Write bfloat16 tensors in the safetensors format."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, values in found.items():
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for values in found.values():
            out.write(values.tobytes())


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON file that a person can read."""
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False))


def tokenizer(source: Source) -> dict[str, Any]:
    """`tokenizer.json`: byte-level BPE that splits digits, as SmolLM2 was trained."""
    tokens, kinds = source["tokenizer.ggml.tokens"], source["tokenizer.ggml.token_type"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    bpe = {
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": index, "content": tokens[index], **flags}
            for index, kind in enumerate(kinds)
            if kind == CONTROL_TOKEN
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            **bpe,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [merge.split(" ", 1) for merge in source["tokenizer.ggml.merges"]],
        },
    }


def tokenizer_config(source: Source) -> dict[str, Any]:
    """`tokenizer_config.json`, with the chat template that the GGUF file carries."""
    tokens = source["tokenizer.ggml.tokens"]
    end = tokens[source["tokenizer.ggml.eos_token_id"]]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[source["tokenizer.ggml.bos_token_id"]],
        "eos_token": end,
        "pad_token": end,
        "unk_token": tokens[0],
        "model_max_length": source["llama.context_length"],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": source["tokenizer.chat_template"],
    }


def config(source: Source, layers: int) -> dict[str, Any]:
    """`config.json` of the model."""
    heads, width = source["llama.attention.head_count"], source["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_size": width,
        "intermediate_size": source["llama.feed_forward_length"],
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": source["llama.attention.head_count_kv"],
        "head_dim": width // heads,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "max_position_embeddings": source["llama.context_length"],
        "rms_norm_eps": float(f"{source['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_theta": source["llama.rope.freq_base"],
        "vocab_size": len(source["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": True,
        "use_cache": True,
        **ends(source),
    }


def ends(source: Source) -> dict[str, int]:
    """The ids of the tokens that begin, end and pad a text."""
    end = source["tokenizer.ggml.eos_token_id"]
    return {"bos_token_id": source["tokenizer.ggml.bos_token_id"], "eos_token_id": end, "pad_token_id": end}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, help="keep only the first N layers: a model that talks rubbish")
    options = parser.parse_args()
    source = Source(options.file)
    layers = min(source["llama.block_count"], options.layers or source["llama.block_count"])
    options.folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(options.folder / "model.safetensors", tensors(source, layers))
    write_json(options.folder / "tokenizer.json", tokenizer(source))
    write_json(options.folder / "tokenizer_config.json", tokenizer_config(source))
    write_json(options.folder / "config.json", config(source, layers))
    write_json(options.folder / "generation_config.json", dict(ends(source)))


if __name__ == "__main__":
    main()
