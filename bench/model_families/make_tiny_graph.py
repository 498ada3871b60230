"""Makes the graph of the tiny model, `y = x M + 1` with `M[i][j] = i + j`; its path is the argument. Runs in the rivals' Python."""

import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper

matrix = np.add.outer(np.arange(4), np.arange(3)).astype(np.float32)
constants = [numpy_helper.from_array(matrix, "matrix"), numpy_helper.from_array(np.float32(1), "one")]
nodes = [helper.make_node("MatMul", ["x", "matrix"], ["product"]), helper.make_node("Add", ["product", "one"], ["y"])]
x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])
y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3])
graph = helper.make_graph(nodes, "tiny", [x], [y], constants)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), sys.argv[1])
