"""A network for tables in PyTorch, as docs/tabular.md describes it, in float64."""

from __future__ import annotations

import torch
from torch.nn import functional

ACTIVATIONS = {
    "none": lambda x: x,
    "relu": functional.relu,
    "relu6": functional.relu6,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


def value_width(feature: dict) -> int:
    """Returns how many inputs the value of a feature becomes."""
    if feature.get("kind") != "categorical":
        return 1
    encoding = feature.get("encoding", "one_hot")
    return {"one_hot": len(feature["categories"]), "embedding": feature.get("embedding_width"), "index": 1}[encoding]


def has_indicator(feature: dict) -> bool:
    """Returns whether a further input says that the value is missing."""
    return feature.get("missing", {}).get("indicator", False)


def input_width(declaration: dict) -> int:
    """Returns how many inputs the first layer has."""
    return sum(value_width(feature) + has_indicator(feature) for feature in declaration["features"])


def embeddings(declaration: dict, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Returns random embeddings."""
    return {
        f"embeddings.{place}.weight": torch.randn(
            len(feature["categories"]), feature["embedding_width"], generator=generator
        )
        for place, feature in enumerate(declaration["features"])
        if feature.get("encoding") == "embedding"
    }


def hidden_layers(declaration: dict, hidden: list[int], generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Returns random layers."""
    outputs = len(declaration.get("classes") or declaration["targets"])
    widths = [input_width(declaration), *hidden, outputs]
    tensors = {}
    for layer, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        bound = (3.0 / inputs) ** 0.5
        tensors[f"layers.{layer}.weight"] = torch.empty(outputs, inputs).uniform_(-bound, bound, generator=generator)
        tensors[f"layers.{layer}.bias"] = torch.empty(outputs).uniform_(-0.3, 0.3, generator=generator)
    return tensors


class Network:
    """Computes rows."""

    def __init__(self, declaration: dict, tensors: dict[str, torch.Tensor]) -> None:
        self.declaration = declaration
        self.tensors = {name: value.double() for name, value in tensors.items()}

    def has_embeddings(self) -> bool:
        """Returns whether categories are embedded."""
        return any(name.startswith("embeddings.") for name in self.tensors)

    def inputs_of(self, place: int, value: object) -> torch.Tensor:
        """Returns the inputs for the value of the feature at a place."""
        feature = self.declaration["features"][place]
        is_missing = value is None
        if is_missing:
            value = feature["missing"].get("fill")
        if value is None:
            own = torch.zeros(value_width(feature), dtype=torch.float64)
        elif feature.get("kind") == "boolean":
            own = torch.tensor([float(value)], dtype=torch.float64)
        elif feature.get("kind") == "categorical":
            category = feature["categories"].index(value)
            encoding = feature.get("encoding", "one_hot")
            if encoding == "embedding":
                own = self.tensors[f"embeddings.{place}.weight"][category]
            elif encoding == "index":
                own = torch.tensor([float(category)], dtype=torch.float64)
            else:
                own = functional.one_hot(torch.tensor(category), len(feature["categories"])).double()
        else:
            own = torch.tensor([(value - feature.get("mean", 0)) / feature.get("scale", 1)], dtype=torch.float64)
        indicator = [torch.tensor([float(is_missing)], dtype=torch.float64)] if has_indicator(feature) else []
        return torch.cat([own, *indicator])

    def results(self, rows: list[dict]) -> torch.Tensor:
        """Returns logits, or targets in their units."""
        features = self.declaration["features"]
        encoded = [
            torch.cat([self.inputs_of(place, row[feature["name"]]) for place, feature in enumerate(features)])
            for row in rows
        ]
        numbers = torch.stack(encoded)
        for layer, described in enumerate(self.declaration["layers"]):
            weight, bias = (self.tensors[f"layers.{layer}.{part}"] for part in ("weight", "bias"))
            numbers = ACTIVATIONS[described["activation"]](functional.linear(numbers, weight, bias))
        targets = self.declaration.get("targets", [])
        for column, target in enumerate(targets):
            numbers[:, column] = numbers[:, column] * target.get("scale", 1) + target.get("mean", 0)
        return numbers
