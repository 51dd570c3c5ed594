"""Scores of frozen features: k-NN, linear probe, clustering. Arrays in, floats out.

Needs NumPy, SciPy and scikit-learn alone, so features of any origin can be scored by it; only
`networks`, which scores a Keras network on a data set, needs TensorFlow.
"""

from cueco_tf.lazy import names_of

__getattr__, __dir__, __all__ = names_of(
    __name__,
    {
        "REGULARIZATIONS": "features",
        "choose_regularization": "features",
        "knn_accuracy": "features",
        "linear_probe": "features",
        "score_features": "features",
        "score_neighbours_and_clusters": "features",
        "clustering_scores": "clustering",
        "kmeans_scores": "clustering",
        "normalize": "vectors",
    },
)
