"""The layers of a network as an ONNX graph that takes what its record declares: standardised numbers, places of categories."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from .network import Network, input_width

#: As operators, with what stands for the input of the activation.
NODES = {
    "relu": lambda x, y: [helper.make_node("Relu", [x], [y])],
    "relu6": lambda x, y: [helper.make_node("Clip", [x, "zero", "six"], [y])],
    "tanh": lambda x, y: [helper.make_node("Tanh", [x], [y])],
    "sigmoid": lambda x, y: [helper.make_node("Sigmoid", [x], [y])],
    "silu": lambda x, y: [
        helper.make_node("Sigmoid", [x], [f"{y}_gate"]),
        helper.make_node("Mul", [x, f"{y}_gate"], [y]),
    ],
    "gelu": lambda x, y: [helper.make_node("Gelu", [x], [y], approximate="none")],
    "gelu_tanh": lambda x, y: [helper.make_node("Gelu", [x], [y], approximate="tanh")],
}


def write_graph(network: Network, path: Path) -> None:
    """Writes the graph with weights in float32."""
    layers = network.declaration["layers"]
    constants = [
        numpy_helper.from_array(value.float().numpy(), name)
        for name, value in network.tensors.items()
        if name.startswith("layers.")
    ]
    constants += [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in (("zero", 0), ("six", 6))]
    nodes, last = [], "rows"
    for layer, described in enumerate(layers):
        parts = [f"layers.{layer}.{part}" for part in ("weight", "bias")]
        is_end = layer + 1 == len(layers)
        product = "results" if is_end else f"product_{layer}"
        nodes.append(helper.make_node("Gemm", [last, *parts], [product], transB=1))
        if not is_end:
            last = f"activated_{layer}"
            nodes += NODES[described["activation"]](product, last)
    outputs = len(network.declaration.get("classes") or network.declaration["targets"])
    value = lambda name, width: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
    graph = helper.make_graph(
        nodes, "table", [value("rows", input_width(network.declaration))], [value("results", outputs)], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    model.producer_name = ""
    onnx.checker.check_model(model)
    onnx.save(model, path)
