"""xplique's estimators on the masks and answers of one file, for `method_parity.py`; run by a Python that has TensorFlow.

    python xplique_oracle.py IN.npz OUT.npz    # prints the versions

`design` rows of A, B and then A with each cell of B, [design·(2 + cells), side, side], and the network's answers to them
for Sobol's indices; binary masks and answers for HSIC. TensorFlow does not live in one environment with the PyTorch that
the other oracles need, so this is a program of its own.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

import numpy as np
import tensorflow as tf
from xplique.attributions.global_sensitivity_analysis.hsic_estimators import BinaryEstimator
from xplique.attributions.global_sensitivity_analysis.sobol_estimators import JansenEstimator


def main(given: str, out: str) -> None:
    asked = np.load(given)
    masks = lambda name: tf.constant(asked[name][..., None], tf.float32)  # noqa: E731
    answers = lambda name: tf.constant(asked[name], tf.float32)  # noqa: E731
    sobol = JansenEstimator()(masks("sobol_masks"), answers("sobol_answers"), int(asked["design"]))
    hsic = BinaryEstimator()(masks("hsic_masks"), answers("hsic_answers"), len(asked["hsic_masks"]))
    np.savez(out, sobol=np.asarray(sobol).squeeze(), hsic=np.asarray(hsic).squeeze())
    print(f"xplique {version('xplique')} (TensorFlow {tf.__version__})")


if __name__ == "__main__":
    main(*sys.argv[1:])
