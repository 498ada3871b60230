"""The cases: one network, three ways of pooling, and the notes of older and newer versions of sentence-transformers."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    "the wheat rice maize farmer field soil rain in late july harvest ##s ##ed ##ing query : . , ! 小 麦 田 "
    "a b c d e f g h i j k l m n o p q r s t u v w x y z ##a ##b ##c ##d ##e ##f ##g ##h ##i ##l ##n ##o ##r ##t ##u"
)

TEXTS = (
    "The farmer harvested the wheat in late July.",
    "rice",
    "",
    "小麦田, maize",
    "Soïl RAIN [SEP] zebra ☃",
    "the rain in the field, the soil in the field, the rain in late july, the wheat, the rice, the maize!",
)


@dataclass(frozen=True)
class Case:
    """What differs between the cases."""

    seed: int
    config: BertConfig
    pooling: str
    normalised: bool
    longest: int
    notes: dict[str, object]
    prompt: str = ""
    data_type: torch.dtype = torch.float32
    has_pooler: bool = True
    other_tensors: dict[str, torch.Tensor] = field(default_factory=dict)


def config(**sizes: object) -> BertConfig:
    """Returns a small configuration for the tokenizer of the cases."""
    return BertConfig(vocab_size=len(vocabulary()), pad_token_id=0, **sizes)


def vocabulary() -> dict[str, int]:
    """Returns the tokens and their ids."""
    return {token: number for number, token in enumerate([*SPECIAL, *WORDS.split()])}


def tokenizer() -> Tokenizer:
    """Returns a tokenizer as BERT has it, which would cut and fill up texts, as many files of it say."""
    made = Tokenizer(models.WordPiece(vocabulary(), unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(list(SPECIAL))
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    return made


def randomise(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Gives every weight a random value, so that none of them can be left out unseen."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        noise = torch.empty_like(value).uniform_(-1, 1, generator=generator)
        if "embeddings" in name and value.dim() > 1:
            value.copy_(noise)
        elif value.dim() > 1:
            value.copy_(noise * (3.0 / value[0].numel()) ** 0.5)
        elif name.endswith("weight"):
            value.copy_(1 + noise * 0.3)
        else:
            value.copy_(noise * 0.3)
    return model.eval()


def write_json(path: Path, value: object) -> None:
    """Writes a file that people can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def make(case: Case, folder: Path) -> None:
    """Writes a folder and what is expected of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = randomise(BertModel(case.config, add_pooling_layer=case.has_pooler), case.seed).to(case.data_type)
    model.save_pretrained(folder)
    if case.other_tensors:
        path = folder / "model.safetensors"
        save_file({**load_file(path), **case.other_tensors}, path, metadata={"format": "pt"})
    whole = tokenizer()
    cut = tokenizer()
    cut.enable_truncation(6)
    cut.enable_padding(length=6, pad_id=0, pad_token="[PAD]")
    cut.save(str(folder / "tokenizer.json"))
    for name, value in case.notes.items():
        write_json(folder / name, value)
    expected = [expect(case, model.float(), whole, text) for text in TEXTS]
    write_json(folder / "expected.json", expected)


def expect(case: Case, model: BertModel, whole: Tokenizer, text: str) -> dict[str, object]:
    """Computes the vector of a text, alone and without padding."""
    count = len(whole.encode(case.prompt + text).ids)
    whole.enable_truncation(case.longest)
    ids = whole.encode(case.prompt + text).ids
    whole.no_truncation()
    with torch.no_grad():
        rows = model(torch.tensor([ids])).last_hidden_state[0]
    pools = {"cls": lambda: rows[0], "mean": lambda: rows.mean(dim=0), "max": lambda: rows.max(dim=0).values}
    vector = pools[case.pooling]()
    if case.normalised:
        vector = torch.nn.functional.normalize(vector, p=2, dim=-1)
    return {"text": text, "input_ids": ids, "truncated": count > len(ids), "embedding": vector.tolist()}


def older_notes(width: int, pooling: str, kinds: list[str], encoder: dict[str, object]) -> dict[str, object]:
    """Returns the files of version 2 of the library."""
    places = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {"idx": index, "name": str(index), "path": places[kind], "type": f"sentence_transformers.models.{kind}"}
        for index, kind in enumerate(kinds)
    ]
    ways = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "mean_sqrt_len_tokens": ""}
    flags = {f"pooling_mode_{flag}": way == pooling for flag, way in ways.items()}
    return {
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": width, **flags},
        "sentence_bert_config.json": encoder,
        "config_sentence_transformers.json": {"__version__": {"sentence_transformers": "2.0.0"}},
    }


def newer_notes(width: int, pooling: str, longest: int, prompts: dict[str, str], default: str) -> dict[str, object]:
    """Returns the files of version 6 of the library."""
    inside = "sentence_transformers.{}.modules.{}"
    types = [
        inside.format("base", "transformer.Transformer"),
        inside.format("sentence_transformer", "pooling.Pooling"),
        inside.format("base", "normalize.Normalize"),
    ]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": kind}
        for index, (path, kind) in enumerate(zip(("", "1_Pooling", "2_Normalize"), types))
    ]
    output = {"method": "forward", "method_output_name": "last_hidden_state"}
    return {
        "modules.json": modules,
        "1_Pooling/config.json": {"embedding_dimension": width, "pooling_mode": pooling, "include_prompt": True},
        "2_Normalize/config.json": {"module_input_name": "sentence_embedding", "module_output_name": None},
        "sentence_bert_config.json": {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": output},
            "module_output_name": "token_embeddings",
            "processing_kwargs": {},
            "unpad_inputs": None,
        },
        "tokenizer_config.json": {"model_max_length": longest, "tokenizer_class": "BertTokenizer"},
        "config_sentence_transformers.json": {
            "model_type": "SentenceTransformer",
            "__version__": {"sentence_transformers": "6.2.0"},
            "prompts": prompts,
            "default_prompt_name": default,
            "similarity_fn_name": "cosine",
        },
    }


MEAN = Case(
    seed=1,
    config=config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, max_position_embeddings=20
    ),
    pooling="mean",
    normalised=True,
    longest=12,
    notes=older_notes(
        24, "mean", ["Transformer", "Pooling", "Normalize"], {"max_seq_length": 12, "do_lower_case": False}
    ),
)

CLS = Case(
    seed=2,
    config=config(
        hidden_size=20,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=36,
        max_position_embeddings=24,
        hidden_act="gelu_new",
        layer_norm_eps=1e-5,
    ),
    pooling="cls",
    normalised=True,
    longest=16,
    prompt="query: ",
    has_pooler=False,
    notes=newer_notes(20, "cls", 16, {"query": "query: ", "document": ""}, "query"),
)

MAX = Case(
    seed=3,
    config=config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, max_position_embeddings=14
    ),
    pooling="max",
    normalised=False,
    longest=14,
    data_type=torch.bfloat16,
    other_tensors={"embeddings.position_ids": torch.arange(14).reshape(1, 14)},
    notes=older_notes(16, "max", ["Transformer", "Pooling"], {"max_seq_length": None, "do_lower_case": True}),
)

CASES = {
    "bert-mean": partial(make, MEAN),
    "bert-cls": partial(make, CLS),
    "bert-max": partial(make, MAX),
}
