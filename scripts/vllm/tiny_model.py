"""Make a random two-layer Llama with a small tokenizer of its own: 1.3 MB that vLLM serves fast, talking rubbish.

    .vllm/venv/bin/python scripts/vllm/tiny_model.py FOLDER [--seed N]

Needs `numpy`, `gguf` and `tokenizers`. The tokenizer is trained on the texts of Python's own `help()` topics.
"""

# mypy: ignore-errors
# It runs in vLLM's environment; the project's own has none of these packages.

from __future__ import annotations

import argparse
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from gguf_to_hf import to_bfloat16, write_json, write_safetensors
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

WIDTH, INNER, LAYERS, HEADS, KV_HEADS, HEAD_WIDTH = 128, 256, 2, 2, 1, 64
CONTEXT = 4096
START, OPEN, CLOSE = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tokenizer(folder: Path) -> int:
    """Train and write a byte-level BPE tokenizer; the size of its vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        special_tokens=[START, OPEN, CLOSE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((topics[name] for name in sorted(topics)), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, "chat_template": CHATML}
    config |= {"bos_token": START, "eos_token": CLOSE, "pad_token": START, "unk_token": START}
    write_json(folder / "tokenizer_config.json", {**config, "clean_up_tokenization_spaces": False})
    return int(tokenizer.get_vocab_size())


def random_weights(vocabulary: int, seed: int) -> dict[str, np.ndarray]:
    """Every tensor of the model, drawn from N(0, 0.2); norms are one."""
    draw = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens": (vocabulary, WIDTH), "model.norm": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= layer_shapes(f"model.layers.{layer}")
    return {
        f"{name}.weight": to_bfloat16(np.ones(shape) if "norm" in name else draw.normal(0, 0.2, shape))
        for name, shape in shapes.items()
    }


def layer_shapes(at: str) -> dict[str, tuple[int, ...]]:
    """The tensors of one layer and their shapes."""
    return {
        f"{at}.input_layernorm": (WIDTH,),
        f"{at}.post_attention_layernorm": (WIDTH,),
        f"{at}.self_attn.q_proj": (HEADS * HEAD_WIDTH, WIDTH),
        f"{at}.self_attn.k_proj": (KV_HEADS * HEAD_WIDTH, WIDTH),
        f"{at}.self_attn.v_proj": (KV_HEADS * HEAD_WIDTH, WIDTH),
        f"{at}.self_attn.o_proj": (WIDTH, HEADS * HEAD_WIDTH),
        f"{at}.mlp.gate_proj": (INNER, WIDTH),
        f"{at}.mlp.up_proj": (INNER, WIDTH),
        f"{at}.mlp.down_proj": (WIDTH, INNER),
    }


def write_config(folder: Path, vocabulary: int) -> None:
    """Write `config.json` and `generation_config.json`."""
    ends = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_WIDTH,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "vocab_size": vocabulary,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        **ends,
    }
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", dict(ends))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another model")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tokenizer(options.folder)
    write_safetensors(options.folder / "model.safetensors", random_weights(vocabulary, options.seed))
    write_config(options.folder, vocabulary)


if __name__ == "__main__":
    main()
