"""Makes the image classifiers that are compared: ViT-B/16 and ResNet-50 with random weights, as folders and as ONNX graphs, and the graph
of the real EfficientNet-Lite0. They classify nothing; they are for speed. Runs in the rivals' Python: folder and checkpoint are its
arguments.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

SIDE = 224
OPSET = 17
CALIBRATION_IMAGES = 8


class Logits(torch.nn.Module):
    """A classifier that gives its logits alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Returns a row for each image."""
        return self.model(pixel_values=image).logits


class Images(CalibrationDataReader):
    """Images of noise, by whose activations a graph is quantised."""

    def __init__(self) -> None:
        numbers = np.random.default_rng(3)
        self.left = [numbers.standard_normal((1, 3, SIDE, SIDE), np.float32) for _ in range(CALIBRATION_IMAGES)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Returns the next image, or nothing."""
        return {"image": self.left.pop()} if self.left else None


def export(model: torch.nn.Module, path: Path) -> None:
    """Writes the graph of a classifier, for any number of images."""
    dynamic = {"image": {0: "count"}, "logits": {0: "count"}}
    example = (torch.zeros(1, 3, SIDE, SIDE),)
    names = {"input_names": ["image"], "output_names": ["logits"], "dynamic_axes": dynamic}
    torch.onnx.export(Logits(model), example, str(path), opset_version=OPSET, dynamo=False, **names)


def vit(folder: Path) -> None:
    """ViT-B/16, and its graph with products of 8-bit integers."""
    model = ViTForImageClassification(ViTConfig(num_labels=1000)).eval()
    model.save_pretrained(folder / "vit-b16")
    export(model, folder / "vit-b16.onnx")
    quant_pre_process(str(folder / "vit-b16.onnx"), str(folder / "vit-b16.prepared.onnx"), skip_symbolic_shape=True)
    quantize_dynamic(folder / "vit-b16.prepared.onnx", folder / "vit-b16.int8.onnx", per_channel=True, weight_type=QuantType.QInt8)


def resnet(folder: Path) -> None:
    """ResNet-50, and its graph with convolutions of 8-bit integers."""
    model = ResNetForImageClassification(ResNetConfig(num_labels=1000)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    model.save_pretrained(folder / "resnet50")
    export(model, folder / "resnet50.onnx")
    quant_pre_process(str(folder / "resnet50.onnx"), str(folder / "resnet50.prepared.onnx"), skip_symbolic_shape=True)
    for name, activations in (("int8", QuantType.QUInt8), ("int8-signed", QuantType.QInt8)):
        quantize_static(
            folder / "resnet50.prepared.onnx",
            folder / f"resnet50.{name}.onnx",
            Images(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=activations,
        )


class Graph:
    """A graph that grows by one convolution after another."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = {name: tensor.numpy() for name, tensor in weights.items()}
        self.nodes: list[onnx.NodeProto] = []
        self.constants = [
            numpy_helper.from_array(np.float32(0), "zero"),
            numpy_helper.from_array(np.float32(6), "six"),
        ]

    def node(self, operator: str, inputs: list[str], **attributes: object) -> str:
        """Adds a node and returns the name of its output."""
        output = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        """Adds a constant and returns its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def convolution(self, value: str, names: tuple[str, str], stride: int, side: int, relu: bool, epsilon: float = 1e-3) -> str:
        """Adds a convolution with its normalisation folded in, padded as TensorFlow does."""
        kernel = self.weights[f"{names[0]}.weight"]
        gain, shift, mean, variance = (self.weights[f"{names[1]}.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
        scale = gain / np.sqrt(variance + epsilon)
        window = kernel.shape[2]
        padding = max((-(-side // stride) - 1) * stride + window - side, 0)
        before, after = padding // 2, padding - padding // 2
        inputs = [
            value,
            self.constant(f"{names[0]}.weight", kernel * scale[:, None, None, None]),
            self.constant(f"{names[0]}.bias", shift - mean * scale),
        ]
        group = kernel.shape[0] if kernel.shape[1] == 1 and kernel.shape[0] > 1 else 1
        output = self.node(
            "Conv", inputs, kernel_shape=[window] * 2, strides=[stride] * 2, pads=[before, before, after, after], group=group
        )
        return self.node("Clip", [output, "zero", "six"]) if relu else output


def efficientnet(folder: Path, checkpoint: Path) -> None:
    """The graph of EfficientNet-Lite0, from the weights of the checkpoint."""
    graph = Graph(torch.load(checkpoint, map_location="cpu", weights_only=True))
    side = SIDE
    value = graph.convolution("image", ("_conv_stem", "_bn0"), 2, side, True)
    side = -(-side // 2)
    index = 0
    for repeats, stride, expands in ((1, 1, False), (2, 2, True), (2, 2, True), (3, 2, True), (3, 1, True), (4, 2, True), (1, 1, True)):
        for repeat in range(repeats):
            name, step = f"_blocks.{index}", stride if repeat == 0 else 1
            entered = value
            if expands:
                value = graph.convolution(value, (f"{name}._expand_conv", f"{name}._bn0"), 1, side, True)
            value = graph.convolution(value, (f"{name}._depthwise_conv", f"{name}._bn1"), step, side, True)
            side = -(-side // step)
            value = graph.convolution(value, (f"{name}._project_conv", f"{name}._bn2"), 1, side, False)
            if repeat > 0:
                value = graph.node("Add", [value, entered])
            index += 1
    value = graph.convolution(value, ("_conv_head", "_bn1"), 1, side, True)
    value = graph.node("Flatten", [graph.node("GlobalAveragePool", [value])])
    weight = graph.constant("_fc.weight", graph.weights["_fc.weight"])
    bias = graph.constant("_fc.bias", graph.weights["_fc.bias"])
    graph.nodes.append(helper.make_node("Gemm", [value, weight, bias], ["logits"], transB=1))
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["count", 3, SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["count", 1000])
    made = helper.make_graph(graph.nodes, "efficientnet-lite0", [image], [logits], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / "efficientnet-lite0.onnx")


def main() -> None:
    """Makes everything."""
    warnings.filterwarnings("ignore")
    folder = Path(sys.argv[1])
    torch.manual_seed(1)
    vit(folder)
    resnet(folder)
    efficientnet(folder, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
