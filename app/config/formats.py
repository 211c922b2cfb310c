"""How conversations are written as one text, for upstreams that only complete texts.

Sources: the `chat_template` in `tokenizer_config.json` of a model of each kind, and its model card: Qwen 2.5 and
SmolLM2 (ChatML), Llama 2 and Llama 3.1 Instruct, Mistral 7B Instruct v0.3, Gemma 2 Instruct, Phi-3 Instruct, Zephyr 7B.
Where such a template knows no system prompt, or puts it elsewhere, it stands before the user's next words. The token at
the very beginning (`<s>`, `<bos>`, `<|begin_of_text|>`) is not written: upstreams add it to completions themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from app.exchange import PromptFormat

FormatName = Literal["chatml", "gemma", "llama2", "llama3", "mistral", "phi3", "zephyr"]

_INST = ("[INST]", "[/INST]", "<s>", "</s>")
FORMATS: Mapping[str, PromptFormat] = MappingProxyType(
    {
        "chatml": PromptFormat(
            system=("<|im_start|>system\n", "<|im_end|>\n"),
            user=("<|im_start|>user\n", "<|im_end|>\n"),
            assistant=("<|im_start|>assistant\n", "<|im_end|>\n"),
            stops=("<|im_end|>", "<|im_start|>"),
        ),
        "gemma": PromptFormat(
            system=("", "\n\n"),
            user=("<start_of_turn>user\n", "<end_of_turn>\n"),
            assistant=("<start_of_turn>model\n", "<end_of_turn>\n"),
            stops=("<end_of_turn>", "<start_of_turn>"),
            marks=("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>"),
            in_user=True,
            trims=True,
        ),
        "llama2": PromptFormat(
            system=("<<SYS>>\n", "\n<</SYS>>\n\n"),
            user=("[INST] ", " [/INST]"),
            assistant=(" ", " </s><s>"),
            stops=("[INST]", "</s>"),
            marks=("<<SYS>>", "<</SYS>>", *_INST),
            in_user=True,
            trims=True,
        ),
        "llama3": PromptFormat(
            system=("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
            user=("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
            assistant=("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
            stops=("<|eot_id|>", "<|start_header_id|>"),
            trims=True,
        ),
        "mistral": PromptFormat(
            system=("", "\n\n"),
            user=("[INST] ", "[/INST]"),
            assistant=(" ", "</s>"),
            stops=("[INST]", "</s>"),
            marks=("[AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[SYSTEM_PROMPT]", *_INST),
            in_user=True,
        ),
        "phi3": PromptFormat(
            system=("<|system|>\n", "<|end|>\n"),
            user=("<|user|>\n", "<|end|>\n"),
            assistant=("<|assistant|>\n", "<|end|>\n"),
            stops=("<|end|>", "<|user|>"),
        ),
        "zephyr": PromptFormat(
            system=("<|system|>\n", "</s>\n"),
            user=("<|user|>\n", "</s>\n"),
            assistant=("<|assistant|>\n", "</s>\n"),
            stops=("</s>", "<|user|>"),
            marks=("<s>", "</s>"),
        ),
    }
)
