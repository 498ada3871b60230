"""The tokenizer of the small models: printable ASCII byte by byte, four merges and two tokens with a meaning."""

from __future__ import annotations

from typing import Any

BEGIN, END = "<|begin|>", "<|end|>"

# Space is `Ġ` in byte-level vocabularies; every other printable character stands for itself.
ALPHABET = [*map(chr, range(0x21, 0x7F)), "Ġ"]
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n")]
TOKENS = [*ALPHABET, *(left + right for left, right in MERGES), BEGIN, END]
VOCAB_SIZE = len(TOKENS)
BEGIN_ID, END_ID = TOKENS.index(BEGIN), TOKENS.index(END)

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def special(text: str) -> dict[str, Any]:
    """Returns an entry of `added_tokens`."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": TOKENS.index(text), "content": text, **flags, "special": True}


def tokenizer_json() -> dict[str, Any]:
    """Returns `tokenizer.json`."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special(BEGIN), special(END)],
        "normalizer": None,
        "pre_tokenizer": BYTE_LEVEL,
        "post_processor": None,
        "decoder": BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(TOKENS)},
            "merges": [list(pair) for pair in MERGES],
        },
    }


def tokenizer_config() -> dict[str, Any]:
    """Returns `tokenizer_config.json`."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": "{% for message in messages %}{{ message.role }}: {{ message.content }}<|end|>{% endfor %}",
    }


def generation_config() -> dict[str, Any]:
    """Returns `generation_config.json`; the end is a list, as in many published models."""
    return {"bos_token_id": BEGIN_ID, "eos_token_id": [END_ID]}


# Token types of GGUF.
NORMAL, CONTROL = 1, 3


def gguf_tables() -> tuple[list[str], list[int], list[str]]:
    """Returns tokens, their types and merges as GGUF keeps them."""
    types = [CONTROL if token in (BEGIN, END) else NORMAL for token in TOKENS]
    return TOKENS, types, [" ".join(pair) for pair in MERGES]
