#!/usr/bin/env python3
"""Makes what TensorFlow and Keras write of tiny models: SavedModels, checkpoints, Keras files; and beside each folder `expected.json`:
what TensorFlow itself reads back.

The results are in the repository (crates/native/fixtures/tensorflow). This makes them again, in an environment that has:

    pip install tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6 h5py==3.14.0
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy
import tensorflow as tf
from tensorflow.python.tools import saved_model_utils

FOLDER = Path(__file__).resolve().parent.parent / "crates" / "native" / "fixtures" / "tensorflow"


class Linear(tf.Module):
    """y = x · w + b, and variables that are no weights: a number, an empty one, texts, a file."""

    def __init__(self, vocabulary: Path) -> None:
        super().__init__()
        self.w = tf.Variable(numpy.arange(6, dtype=numpy.float32).reshape(2, 3), name="w")
        self.b = tf.Variable(tf.constant([0.5, -0.5, 1.0]), name="b")
        self.calls = tf.Variable(7, dtype=tf.int64, trainable=False, name="calls")
        self.nothing = tf.Variable(tf.zeros([0, 3]), trainable=False, name="nothing")
        self.words = tf.Variable(["wheat", "", "水稻"], trainable=False, name="words")
        self.vocabulary = tf.saved_model.Asset(str(vocabulary))

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.matmul(x, self.w) + self.b}


def linear(folder: Path) -> None:
    """A module with a signature, as `tf.saved_model.save` writes it."""
    with tempfile.TemporaryDirectory() as temporary:
        vocabulary = Path(temporary) / "vocabulary.txt"
        vocabulary.write_text("wheat\nrice\n")
        module = Linear(vocabulary)
        tf.saved_model.save(module, str(folder), signatures=module.__call__)
    write_expected(folder, folder / "variables" / "variables")


def without_variables(folder: Path) -> None:
    """A function alone. TensorFlow writes a checkpoint of nothing but its object graph."""
    module = tf.Module()
    module.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([], tf.int32, name="x")])
    tf.saved_model.save(module, str(folder), signatures=module.double)
    write_expected(folder, folder / "variables" / "variables")


def small_network() -> keras.Model:
    keras.utils.set_random_seed(7)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(2)])


def exported(folder: Path) -> None:
    """A Keras model, as `export` writes it for servers."""
    small_network().export(str(folder), verbose=False)
    write_expected(folder, folder / "variables" / "variables")


def checkpoint(folder: Path) -> None:
    """A checkpoint of TensorFlow 1 whose embedding is stored in three slices."""
    folder.mkdir(parents=True)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        partitioner = tf.compat.v1.fixed_size_partitioner(3)
        tf.compat.v1.get_variable("embedding", (10, 2), initializer=tf.ones_initializer(), partitioner=partitioner)
        tf.compat.v1.get_variable("scale", (), tf.bfloat16, initializer=tf.ones_initializer())
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(folder / "model.ckpt"), write_meta_graph=False)
    # It says which checkpoint is the newest, by a path of the machine that wrote it.
    (folder / "checkpoint").unlink()
    write_expected(folder, folder / "model.ckpt")


def keras_files(folder: Path) -> None:
    """The files that hold a Keras model alone."""
    folder.mkdir(parents=True)
    model = small_network()
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.save_weights(folder / "model.weights.h5")


def write_expected(folder: Path, prefix: Path) -> None:
    """Writes what TensorFlow says about the checkpoint and, of a SavedModel, about its signatures."""
    reader = tf.train.load_checkpoint(str(prefix))
    types = reader.get_variable_to_dtype_map()
    names = sorted(reader.get_variable_to_shape_map(), key=lambda name: name.encode())
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    expected: dict[str, object] = {
        "variables": [
            {"name": name.removesuffix(suffix), "dtype": types[name].name, "shape": reader.get_variable_to_shape_map()[name]}
            for name in names
            if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
        ]
    }
    if (folder / "saved_model.pb").exists():
        loaded = tf.saved_model.load(str(folder))
        expected |= {
            "tags": saved_model_utils.get_saved_model_tag_sets(str(folder))[0],
            "tensorflow_version": loaded.tensorflow_version,
            "signatures": {name: signature_json(function) for name, function in sorted(loaded.signatures.items())},
        }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


def signature_json(function: object) -> dict[str, object]:
    def tensors(specs: dict[str, tf.TensorSpec]) -> list[dict[str, object]]:
        return [{"name": name, "dtype": spec.dtype.name, "shape": spec.shape.as_list()} for name, spec in sorted(specs.items())]

    return {"inputs": tensors(function.structured_input_signature[1]), "outputs": tensors(function.structured_outputs)}


CASES = {
    "linear": linear,
    "without-variables": without_variables,
    "exported": exported,
    "checkpoint": checkpoint,
    "keras": keras_files,
}


def main() -> None:
    """Makes every case, or those that are named."""
    for name in sys.argv[1:] or CASES:
        print(f"making {name}", file=sys.stderr)
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        CASES[name](FOLDER / name)


if __name__ == "__main__":
    main()
