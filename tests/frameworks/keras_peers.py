"""A pytest plugin: Keras's own tests of its optimizers, which its wheel carries, meet ours in their place."""

import importlib

from optiscope.frameworks import keras as front

for name in ("SGD", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW", "Adamax", "Nadam", "Lion"):
    setattr(importlib.import_module(f"keras.src.optimizers.{name.lower()}"), name, getattr(front, name))
