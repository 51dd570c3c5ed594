"""Writes three.npz and thirty.npz: 3,750 training images of CIFAR-100's first twenty classes, and
37,500 of all; a fifth of each is held out when they are loaded.

    TFDS_DATA_DIR=... python docs/results/small_arrays.py
"""

import numpy as np

from cueco_tf import data

train = data.load("cifar100").train
few = np.flatnonzero(train.labels < 20)[:3_750]
for name, rows in (("three", few), ("thirty", slice(37_500))):
    np.savez(f"{name}.npz", images=train.images[rows], labels=train.labels[rows])
