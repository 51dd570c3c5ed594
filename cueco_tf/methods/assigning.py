"""What is asked of a trained model: clusters, and a network to take along."""

import warnings

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from cueco_tf.data.views import check_images
from cueco_tf.methods.fitting import FittingModel
from cueco_tf.methods.inference import inference_network, looks_at
from cueco_tf.parts.settled import nearest, settle
from cueco_tf.parts.uniform import uniform

MOST_SETTLED = 50_000  # images, at most, that clusters are settled on


class AssigningModel(FittingModel):
    """A two-view model with a head, and with clusters where its method learns directions."""

    directions_trained = True
    settled = None  # `SettledClusters` of a method that has directions

    def directions(self):
        """Unit vectors `(L, projection_dim)` that training learns and that stand for clusters in
        the space of z, or None."""
        return None

    def waits_for(self):
        """Where directions are not trained yet: what that takes, in words."""
        return "it has not been trained"

    def settle(self, z):
        """Makes the clusters right for the encoder as it is.

        What training leaves belongs to the networks that it was learnt with: slow copies, in
        training mode, of augmented images. So k-means on projections of plain images moves the
        directions, and those that are left empty begin anew (`parts.settled`). `fit` does this when
        training ends. Nothing that training goes on from is changed.

        Args:
            z: float32 `(n, projection_dim)`, L2-normalised: `model.predict(images)` of training
                images.

        Returns:
            Integer, how many clusters these images use.

        Raises:
            ValueError: for a method without directions, or before they are trained.
        """
        self._check_directions()
        found = settle(z, tf.convert_to_tensor(self.directions()).numpy(), self.draw)
        self.settled.put(found, self.steps_done())
        return len(np.unique(nearest(z, found)))

    def finish(self, source):
        """Settles the clusters on what `fit` was given, where there are any."""
        if self.directions() is not None and self.directions_trained:
            look = looks_at(self, self.image_shape)
            z = [look(images) for images, _ in source.plain(MOST_SETTLED)]
            self.settle(np.concatenate(z))

    def assign(self, images, batch_size=256):
        """The cluster of each image, without augmentation.

        Args:
            images: `(n, height, width, 3)` array, pixels 0 to 255, uint8 or float.
            batch_size: integer >= 1, defaults to 256.

        Returns:
            `(n,)` int32 array: the argmax over the directions d of z . d.

        Raises:
            ValueError: for images of another shape or dtype, a method without directions, or before
                they are trained.
        """
        self._check_directions()
        images = check_images(images, self.image_shape)
        return self.nearest(self.predict(images, batch_size=batch_size, verbose=0))

    def nearest(self, z):
        """The cluster nearest to each L2-normalised projection.

        Warns where the clusters are not settled for the encoder as it is.

        Args:
            z: float32 `(n, projection_dim)`.

        Returns:
            `(n,)` int32 array.

        Raises:
            ValueError: for a method without directions, or before they are trained.
        """
        self._check_directions()
        directions = self.settled.at(self.steps_done())
        if directions is None:
            warnings.warn(
                "These clusters are as the training so far has left them: the encoder as it is may "
                "leave some empty. model.settle(model.predict(images)) makes them right for it.",
                stacklevel=3,
            )
            directions = self.directions()
        return nearest(z, directions)

    def _check_directions(self):
        name = type(self).__name__
        if self.directions() is None:
            raise ValueError(f"{name} has no clusters of its own: use k-means on z.")
        if not self.directions_trained:
            raise ValueError(
                f"{name} has no clusters yet: {self.waits_for()}. Train it with `fit`."
            )

    def draw(self, shape):
        """Uniform random numbers that are a function of (seed, step)."""
        return uniform(shape, ops.stack([ops.cast(self.seed, "int64"), self.step.value]))

    def export(self, filepath, format="tf_saved_model", **kwargs):
        """Exports the network from images to z, in Keras's own layers and float32.

        `model.encoder.export` does so for the features; `pipelines.export` exports a run with its
        clusters.

        Args:
            filepath, format, and any other: as in `keras.Model.export`.
        """
        network = inference_network(self)
        keras.Model(network.input, network.output["projection"]).export(
            filepath, format=format, **kwargs
        )
