"""Makes what sentence encoders are compared on: graphs of the real MiniLM as PyTorch exports it, as ONNX Runtime's tool for transformers
fuses it, and with 8-bit weights; and the tokens of 32 sentences, as they are and all of one length. Runs in the rivals' Python: the
folder to write to, the model's folder and the graph in 8 bits that a package carries are its arguments.
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from tokenizers import Tokenizer
from transformers import BertModel

OPSET = 17
SENTENCES = Path(__file__).with_name("sentences.txt")
EQUAL_TOKENS = 32
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Rows(torch.nn.Module):
    """A BERT that gives the vectors of tokens alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor) -> torch.Tensor:
        """Returns a vector for each token."""
        return self.model(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state


def export(source: Path, path: Path) -> BertModel:
    """Writes the graph, for any number of sentences of any length."""
    model = BertModel.from_pretrained(source, attn_implementation="eager").eval()
    free = {0: "count", 1: "tokens"}
    torch.onnx.export(
        Rows(model),
        (torch.ones(2, 8, dtype=torch.int64),) * 2 + (torch.zeros(2, 8, dtype=torch.int64),),
        str(path),
        input_names=list(INPUTS),
        output_names=["last_hidden_state"],
        dynamic_axes={name: free for name in (*INPUTS, "last_hidden_state")},
        opset_version=OPSET,
        dynamo=False,
    )
    return model


def tokens(source: Path) -> list[list[int]]:
    """Returns the tokens of the sentences, each at its own length."""
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return [tokenizer.encode(line).ids for line in SENTENCES.read_text().splitlines()]


def main() -> None:
    """Makes everything."""
    warnings.filterwarnings("ignore")
    folder, source, int8 = map(Path, sys.argv[1:])
    model = export(source, folder / "minilm.onnx")
    sizes = {"num_heads": model.config.num_attention_heads, "hidden_size": model.config.hidden_size}
    optimizer.optimize_model(str(folder / "minilm.onnx"), model_type="bert", **sizes).save_model_to_file(str(folder / "minilm.fused.onnx"))
    shutil.copyfile(int8, folder / "minilm.int8.onnx")
    for name in ("", ".fused"):
        target = folder / f"minilm{name}.int8-made.onnx"
        kinds = {"weight_type": QuantType.QInt8, "extra_options": {"DefaultTensorType": onnx.TensorProto.FLOAT}}
        quantize_dynamic(folder / f"minilm{name}.onnx", target, per_channel=True, **kinds)
    sentences = tokens(source)
    (folder / "sentences.json").write_text(json.dumps(sentences))
    flat = [token for sentence in sentences for token in sentence] * 2
    equal = [flat[start : start + EQUAL_TOKENS] for start in range(0, len(sentences) * EQUAL_TOKENS, EQUAL_TOKENS)]
    (folder / "equal.json").write_text(json.dumps(equal))


if __name__ == "__main__":
    main()
