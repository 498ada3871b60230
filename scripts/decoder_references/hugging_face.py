"""Directories as Hugging Face's libraries write them, and their values by transformers itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from . import expected, random_weights, tokenizer
from .cases import POST_NORM_DECODER, Case
from .expected import Forward
from .post_norm_decoder import PostNormDecoder

# The largest change of a logit below which what a case is about is without effect.
WITHOUT_EFFECT = 0.05


def make(folder: Path, case: Case) -> None:
    """Writes a directory and what transformers computes from it."""
    fresh(folder)
    write_json(folder / "config.json", {**case.config, "torch_dtype": case.storage})
    write_tokenizer(folder)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    # Tied tensors are stored once.
    names = dict(model.named_parameters())
    storage = getattr(torch, case.storage)
    tensors = {name: tensor.to(storage) for name, tensor in random_weights.fill(names, case.seed).items()}
    write_tensors(folder, tensors, case.shards)
    forward = load(folder)
    values = expected.expect(forward, case.prompt_length, case.seed)
    for changes in case.matters:
        refuse_without_effect(case, changes, values, load(folder, changes))
    expected.write(folder, case.what, made_with(), values)


def make_post_norm_decoder(folder: Path, seed: int) -> None:
    """Writes the original's decoder."""
    fresh(folder)
    write_json(folder / "config.json", POST_NORM_DECODER)
    write_tokenizer(folder)
    model = PostNormDecoder(POST_NORM_DECODER).eval()
    tensors = random_weights.fill(dict(model.named_parameters()), seed)
    model.load_state_dict(tensors)
    write_tensors(folder, tensors, shards=1)

    def forward(tokens: list[int]) -> torch.Tensor:
        with torch.no_grad():
            return model(torch.tensor(tokens))

    what = "the decoder of the original system: learned positions, norms after the sums, GELU"
    made_with = f"scripts/decoder_references/post_norm_decoder.py, torch {torch.__version__}"
    expected.write(folder, what, made_with, expected.expect(forward, 12, seed))


def load(folder: Path, changes: dict[str, Any] | None = None) -> Forward:
    """Loads a directory as its users do, in f32, with some settings changed."""
    config = AutoConfig.from_pretrained(folder, **(changes or {}))
    model = AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=torch.float32, attn_implementation="eager", use_safetensors=True
    ).eval()

    def forward(tokens: list[int]) -> torch.Tensor:
        with torch.no_grad():
            return model(torch.tensor([tokens]), use_cache=False).logits[0]

    return forward


def refuse_without_effect(case: Case, changes: dict[str, Any], values: dict[str, Any], other: Forward) -> None:
    """Ends the program when a changed setting leaves the logits as they are."""
    difference = (other(values["tokens"]) - torch.tensor(values["logits"])).abs().max().item()
    if difference < WITHOUT_EFFECT:
        raise SystemExit(f"case `{case.name}`: {changes} changes no logit by more than {difference}")


def write_tensors(folder: Path, tensors: dict[str, torch.Tensor], shards: int) -> None:
    """Writes one file, or several with their index."""
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = list(tensors)
    index: dict[str, str] = {}
    for number in range(shards):
        part = names[number * len(names) // shards : (number + 1) * len(names) // shards]
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    content = {"metadata": {"total_size": total}, "weight_map": index}
    write_json(folder / "model.safetensors.index.json", content)


def write_tokenizer(folder: Path) -> None:
    """Writes the three files about tokens."""
    compact = json.dumps(tokenizer.tokenizer_json(), ensure_ascii=False)
    (folder / "tokenizer.json").write_text(compact + "\n")
    write_json(folder / "tokenizer_config.json", tokenizer.tokenizer_config())
    write_json(folder / "generation_config.json", tokenizer.generation_config())


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a file for people to read."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def fresh(folder: Path) -> None:
    """Makes an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def made_with() -> str:
    """Names the implementation."""
    return f"transformers {transformers.__version__}, torch {torch.__version__}, f32, eager attention"
