"""Writes the bench model as ONNX graphs, f32 and int8, from ONNX Runtime's own fused operators, as its model builder does.

The caches of keys and values are inputs and outputs that may share one buffer, so nothing is copied from token to token.
int8 is ONNX Runtime's dynamic quantisation: weights by output, activations while it runs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load_file

CONTRIB = "com.microsoft"
LONGEST = 2048


class Graph:
    """Nodes and weights, as they come."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: object) -> str:
        """Adds a node; returns its first output."""
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=outputs[0], domain=domain, **attributes))
        return outputs[0]

    def weight(self, name: str, values: np.ndarray) -> str:
        """Adds a weight."""
        self.weights.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def product(self, rows: str, name: str, matrix: np.ndarray) -> str:
        """Adds a product with a matrix [outputs, inputs]."""
        return self.add("MatMul", [rows, self.weight(f"{name}.weight", matrix.T)], [name])

    def norm(self, rows: str, added: str, name: str, weight: np.ndarray, epsilon: float) -> tuple[str, str]:
        """Adds two operands and normalises; returns the normalised rows and the sum."""
        inputs = [rows, added, self.weight(f"{name}.weight", weight)]
        outputs = [name, "", "", f"{name}.sum"]
        self.add("SkipSimplifiedLayerNormalization", inputs, outputs, CONTRIB, epsilon=epsilon)
        return name, f"{name}.sum"


def main() -> None:
    """Writes both graphs."""
    folder = Path(sys.argv[1])
    source = folder / "hugging-face-f32"
    config = json.loads((source / "config.json").read_text())
    model = build(config, load_file(source / "model.safetensors"))
    onnx.save(model, folder / "f32.onnx")
    quantize_dynamic(
        folder / "f32.onnx",
        folder / "int8.onnx",
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        # Shapes are not inferred through the fused operators.
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )


def build(config: dict, weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Returns the f32 graph: the logits of the last position."""
    graph, epsilon = Graph(), config["rms_norm_eps"]
    heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
    rotation = [graph.weight(name, table) for name, table in rotations(config).items()]
    table = graph.weight("embedding.weight", weights["model.embed_tokens.weight"])
    residual = graph.add("Gather", [table, "input_ids"], ["embedding"])
    first = graph.weight("first_norm.weight", weights["model.layers.0.input_layernorm.weight"])
    rows = graph.add(
        "SimplifiedLayerNormalization", [residual, first], ["first_norm"], axis=-1, epsilon=epsilon, stash_type=1
    )
    for layer in range(layers):
        of = lambda name: weights[f"model.layers.{layer}.{name}.weight"]
        fused = np.concatenate([of(f"self_attn.{part}_proj") for part in "qkv"])
        inputs = [graph.product(rows, f"{layer}.qkv", fused), "", "", f"past.{layer}.key", f"past.{layer}.value"]
        outputs = [f"{layer}.attention", f"present.{layer}.key", f"present.{layer}.value"]
        mixed = graph.add(
            "GroupQueryAttention",
            [*inputs, "seqlens_k", "total_sequence_length", *rotation],
            outputs,
            CONTRIB,
            num_heads=heads,
            kv_num_heads=config["num_key_value_heads"],
            do_rotary=1,
        )
        attended = graph.product(mixed, f"{layer}.output", of("self_attn.o_proj"))
        rows, residual = graph.norm(attended, residual, f"{layer}.norm", of("post_attention_layernorm"), epsilon)
        gate = graph.product(rows, f"{layer}.gate", of("mlp.gate_proj"))
        up = graph.product(rows, f"{layer}.up", of("mlp.up_proj"))
        # With alpha 1 this is SiLU.
        opened = graph.add("QuickGelu", [gate], [f"{layer}.opened"], CONTRIB, alpha=1.0)
        gated = graph.add("Mul", [opened, up], [f"{layer}.gated"])
        down = graph.product(gated, f"{layer}.down", of("mlp.down_proj"))
        is_last = layer + 1 == layers
        next_norm = weights["model.norm.weight" if is_last else f"model.layers.{layer + 1}.input_layernorm.weight"]
        rows, residual = graph.norm(down, residual, f"{layer}.next_norm", next_norm, epsilon)
    last = graph.add("Gather", [rows, graph.weight("last", np.array(-1, np.int64))], ["last_row"], axis=1)
    graph.product(last, "logits", weights["lm_head.weight"])
    return model_of(graph, config)


def model_of(graph: Graph, config: dict) -> onnx.ModelProto:
    """Puts nodes and weights together with inputs and outputs."""
    cache = ["streams", config["num_key_value_heads"], "length", config["hidden_size"] // config["num_attention_heads"]]
    value = helper.make_tensor_value_info
    parts = [f"{layer}.{part}" for layer in range(config["num_hidden_layers"]) for part in ("key", "value")]
    inputs = [
        value("input_ids", TensorProto.INT64, ["streams", "tokens"]),
        value("seqlens_k", TensorProto.INT32, ["streams"]),
        value("total_sequence_length", TensorProto.INT32, []),
        *(value(f"past.{part}", TensorProto.FLOAT, cache) for part in parts),
    ]
    outputs = [
        value("logits", TensorProto.FLOAT, ["streams", config["vocab_size"]]),
        *(value(f"present.{part}", TensorProto.FLOAT, cache) for part in parts),
    ]
    made = helper.make_graph(graph.nodes, "bench", inputs, outputs, graph.weights)
    versions = [helper.make_opsetid("", 21), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(made, opset_imports=versions, ir_version=10)


def rotations(config: dict) -> dict[str, np.ndarray]:
    """Returns the cosines and sines of every position."""
    width = config["hidden_size"] // config["num_attention_heads"]
    frequencies = config["rope_theta"] ** (-np.arange(0, width, 2) / width)
    angles = np.arange(LONGEST)[:, None] * frequencies
    return {"cos_cache": np.cos(angles).astype(np.float32), "sin_cache": np.sin(angles).astype(np.float32)}


if __name__ == "__main__":
    main()
