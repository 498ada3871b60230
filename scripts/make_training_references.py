#!/usr/bin/env python3
"""Writes what PyTorch and transformers say of a few training steps of tiny language models, for the tests of crates/trainer.

    scripts/make_training_references.py

For each family: the weights before and after ten updates of AdamW with warm-up, cosine, decay and clipping, and the loss before each
update. It runs in the rivals' Python (bench/rivals/requirements.txt).
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "crates" / "trainer" / "tests" / "reference"

sys.path[:0] = [str(REPOSITORY / "bench"), str(REPOSITORY / "scripts")]

from rivals import packages

packages.enter()

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

VOCABULARY, CONTEXT, WIDTH, LAYERS, HEADS, INNER = 19, 8, 8, 2, 2, 24
STEPS, WARM_UP, RATE, FINAL, DECAY, CLIP = 10, 3, 0.02, 0.1, 0.1, 1.0


def models() -> dict[str, PreTrainedModel]:
    """Returns the models."""
    gpt2 = GPT2Config(
        vocab_size=VOCABULARY, bos_token_id=None, eos_token_id=None, n_positions=CONTEXT, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_inner=INNER,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.3,
    )
    llama = LlamaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, hidden_size=WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=1, intermediate_size=INNER, rms_norm_eps=1e-5,
        tie_word_embeddings=False, initializer_range=0.3,
    )
    return {"gpt2": GPT2LMHeadModel(gpt2), "llama": LlamaForCausalLM(llama)}


def rate(step: int) -> float:
    """Returns the rate of an update, counted from 1."""
    if step <= WARM_UP:
        return RATE * step / WARM_UP
    height = 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP)))
    return RATE * (FINAL + (1 - FINAL) * height)


def tokens(step: int) -> list[list[int]]:
    """Returns two sequences with the label of the last token behind it."""
    return [[(step * 5 + sequence * 11 + place * (place + 3)) % VOCABULARY for place in range(CONTEXT + 1)] for sequence in range(2)]


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Returns the weights without what is tied or counted."""
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    return {name: value.detach().clone().contiguous() for name, value in model.named_parameters() if name not in tied}


def train(model: PreTrainedModel) -> list[float]:
    """Makes the updates and returns the losses."""
    is_shrunk = lambda name, value: value.ndim > 1 and "wpe" not in name
    named = list(model.named_parameters())
    groups = [
        {"params": [value for name, value in named if is_shrunk(name, value)], "weight_decay": DECAY},
        {"params": [value for name, value in named if not is_shrunk(name, value)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    losses = []
    for step in range(1, STEPS + 1):
        batch = torch.tensor(tokens(step))
        logits = model(batch[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), batch[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    """Writes the files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(3)
    for name, model in models().items():
        model.train()
        save_file(weights(model), FOLDER / f"{name}_before.safetensors")
        losses = train(model)
        save_file(weights(model), FOLDER / f"{name}_after.safetensors")
        (FOLDER / f"{name}.json").write_text(json.dumps({"losses": losses}) + "\n")
        print(name, losses)


if __name__ == "__main__":
    main()
