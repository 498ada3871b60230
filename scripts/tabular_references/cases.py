"""The cases: what they declare, and rows for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from .graph import write_graph
from .network import Network, embeddings, hidden_layers

FIRST = {
    "format_version": 1,
    "task": "classification",
    "features": [
        {"name": "soil_ph", "unit": "pH", "range": [3.5, 9.5], "mean": 6.4, "scale": 0.8},
        {
            "name": "年降雨量",
            "unit": "mm",
            "range": [0, 3000],
            "mean": 612.5,
            "scale": 211.25,
            "missing": {"fill": 590.0, "indicator": True},
        },
        {"name": "irrigated", "kind": "boolean", "missing": {"indicator": True}},
        {
            "name": "soil",
            "kind": "categorical",
            "categories": ["clay", "loam", "sand", "peat"],
            "missing": {"indicator": True},
        },
        {
            "name": "previous_crop",
            "kind": "categorical",
            "categories": ["wheat", "maize", "rice", "fallow", "clover"],
            "encoding": "embedding",
            "embedding_width": 3,
            "missing": {"fill": "fallow"},
        },
        {"name": "slope", "unit": "%", "range": [0, None]},
    ],
    "classes": ["小麦", "maize", "rice"],
    "layers": [{"activation": "gelu"}, {"activation": "tanh"}, {"activation": "none"}],
}

FIRST_ROWS = [
    {"soil_ph": 6.5, "年降雨量": 800, "irrigated": True, "soil": "clay", "previous_crop": "rice", "slope": 1.5},
    {"soil_ph": 4.25, "年降雨量": 120.5, "irrigated": False, "soil": "peat", "previous_crop": "wheat", "slope": 12},
    {"soil_ph": 9.5, "年降雨量": None, "irrigated": True, "soil": None, "previous_crop": None, "slope": 0},
    {"soil_ph": 7.1, "年降雨量": 0, "irrigated": None, "soil": "loam", "previous_crop": "clover", "slope": 3},
    {"soil_ph": 5.9, "年降雨量": 2999.75, "irrigated": False, "soil": "sand", "previous_crop": "maize", "slope": 0.125},
]

SECOND = {
    "format_version": 1,
    "task": "regression",
    "features": [
        {"name": "nitrogen", "unit": "kg/ha", "range": [0, 300], "mean": 110, "scale": 45},
        {"name": "temperature", "unit": "°C", "range": [-10, 40], "mean": 14.2, "scale": 6.1, "missing": {"fill": 14.2}},
        {"name": "variety", "kind": "categorical", "categories": ["A1", "A2", "B7"], "encoding": "index"},
        {"name": "organic", "kind": "boolean"},
    ],
    "targets": [
        {"name": "yield", "unit": "t/ha", "mean": 5.75, "scale": 1.5},
        {"name": "protein", "unit": "%", "mean": 12.5, "scale": 0.75},
        {"name": "risk"},
    ],
    "layers": [
        {"activation": "silu"},
        {"activation": "relu6"},
        {"activation": "sigmoid"},
        {"activation": "gelu_tanh"},
        {"activation": "relu"},
        {"activation": "none"},
    ],
}

SECOND_ROWS = [
    {"nitrogen": 150, "temperature": 18.5, "variety": "A1", "organic": False},
    {"nitrogen": 0, "temperature": -9.75, "variety": "B7", "organic": True},
    {"nitrogen": 300, "temperature": None, "variety": "A2", "organic": False},
]


@dataclass
class Case:
    """A network to be made."""

    declaration: dict
    rows: list[dict]
    hidden: list[int]
    dtype: torch.dtype
    seed: int


CASES = {
    "crop-classifier": Case(FIRST, FIRST_ROWS, [16, 12], torch.float32, 1),
    "yield-regressor": Case(SECOND, SECOND_ROWS, [8, 9, 7, 10, 40], torch.bfloat16, 2),
}


def make(case: Case, folder: Path) -> None:
    """Writes the network, the graph without embeddings if there are none, and what comes out."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(case.seed)
    tensors = {**embeddings(case.declaration, generator), **hidden_layers(case.declaration, case.hidden, generator)}
    tensors = {name: value.to(case.dtype) for name, value in tensors.items()}
    # Without spaces, as a program would write it; the library sorts nothing in it.
    text = json.dumps(case.declaration, ensure_ascii=False, separators=(",", ":"))
    save_file(tensors, folder / "model.safetensors", metadata={"seedhouse.tabular": text})
    network = Network(case.declaration, tensors)
    results = network.results(case.rows)
    expected = {"rows": case.rows, "results": results.tolist()}
    if "classes" in case.declaration:
        expected["probabilities"] = torch.softmax(results, dim=1).tolist()
    (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n")
    if not network.has_embeddings():
        write_graph(network, folder.parent / f"{folder.name}.onnx")
