"""Trains a small classifier with Keras, saves it in every form, and what it answers.

python tests/inference/frameworks/train_tensorflow.py FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf


class Lengths(tf.Module):
    """A SavedModel of text, for strings in and out."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
    def measure(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """How long each is, and each in capitals."""
        return {"lengths": tf.strings.length(texts), "capitals": tf.strings.upper(texts)}


def main(folder: Path) -> None:
    keras.utils.set_random_seed(3)
    classes = np.repeat(np.arange(3), 30)
    rng = np.random.default_rng(3)
    rows = (np.eye(4)[classes] * 3 + rng.normal(size=(90, 4))).astype(np.float32)
    given = keras.Input((4,), name="rows")
    hidden = keras.layers.Dense(16, activation="relu")(given)
    odds = keras.layers.Dense(3, activation="softmax", name="odds")(hidden)
    model = keras.Model(given, odds)
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    model.fit(rows, classes, epochs=20, verbose=0)
    answers = model(rows).numpy()
    assert (answers.argmax(axis=1) == classes).mean() > 0.8, "it learnt nothing"
    np.savez(folder / "tensorflow.npz", rows=rows, odds=answers)
    model.save(folder / "model.keras")
    model.export(folder / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    (folder / "model.tflite").write_bytes(converter.convert())
    lengths = Lengths()
    tf.saved_model.save(lengths, str(folder / "lengths"), signatures=lengths.measure)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
