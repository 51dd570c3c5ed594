"""Two views by a Keras layer, and what else may stand for an augmentation."""

import inspect
import warnings

import keras
import tensorflow as tf

from cueco_tf.data.augment import TwoViews


def as_augmentation(augment, image_shape):
    """The function of `(images, seed)` that makes two views.

    Args:
        augment: None for `TwoViews` that suit the image size; a Keras layer or model, see
            `LayerViews`; or such a function, which stays what it is.
        image_shape: (height, width, channels) of the images.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(augment, keras.layers.Layer):
        augment = LayerViews(augment)
    if augment is None:
        augment = TwoViews.for_image_size(max(image_shape[:2]), image_shape[2])
    if isinstance(augment, TwoViews) and image_shape[2] != 3 and augment.changes_colours:
        warnings.warn(
            f"Images of {image_shape[2]} channels have no colours: the changes of saturation and "
            f"hue and the gray views of `augment` leave them as they are.",
            stacklevel=4,
        )
    if isinstance(augment, LayerViews):
        augment.build(image_shape)
    elif not callable(augment) or not _takes_two(augment):
        raise ValueError(
            f"`augment` should be a function of (images, seed) that returns two views, such as "
            f"`TwoViews()`, or a Keras layer that makes one. Received: augment={augment!r}"
        )
    return augment


def _takes_two(function):
    try:
        inspect.signature(function).bind("images", "seed")
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        pass
    return True


@keras.saving.register_keras_serializable("cueco_tf")
class LayerViews:
    """Each view is a call of one Keras layer, in training mode, with random numbers of its own.

    Those are a function of the seed that the views are asked for with, not of how often the layer
    was called before: a resumed run sees the same views.

    Args:
        layer: a layer or model from images `(n, height, width, channels)`, pixels 0 to 255, to
            images of the same shape: `keras.Sequential([keras.layers.RandomFlip(), ...])`, say.
    """

    def __init__(self, layer):
        self.layer = layer

    def build(self, image_shape):
        """Makes the layer's variables, and holds its images against the shape of those it gets.

        Raises:
            ValueError: for a layer that changes it.
        """
        made = self.layer(tf.zeros((1, *image_shape)), training=True)
        if tuple(getattr(made, "shape", ())) != (1, *image_shape):
            shape = ", ".join(map(str, image_shape))
            raise ValueError(
                f"`augment` should return images as large as those it gets, (n, {shape}). Received "
                f"from {self.layer.name}: {tuple(getattr(made, 'shape', ()))}"
            )

    def __call__(self, images, seed):
        """Makes two views of every image.

        Args:
            images: `(batch, height, width, channels)`, pixels 0 to 255, any dtype.
            seed: two integers; the same seed gives the same views.

        Returns:
            Two float32 tensors of the shape of `images`.
        """
        seed = tf.cast(tf.convert_to_tensor(seed), tf.int64)
        images = tf.cast(images, tf.float32)
        return tuple(self._view(images, seed, view) for view in (0, 1))

    def _view(self, images, seed, view):
        def state(number, variable):
            if not variable.path.endswith("seed_generator_state"):
                return variable.value
            own = tf.random.experimental.stateless_fold_in(seed, 2 * number + view)
            return tf.cast(own, variable.dtype)

        frozen = [state(i, each) for i, each in enumerate(self.layer.non_trainable_variables)]
        learnt = [each.value for each in self.layer.trainable_variables]
        made, _ = self.layer.stateless_call(learnt, frozen, images, training=True)
        return tf.ensure_shape(tf.cast(made, tf.float32), images.shape)

    def get_config(self):
        """The layer, for Keras to save."""
        return {"layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config):
        """Makes the views that `get_config` described."""
        return cls(keras.saving.deserialize_keras_object(config["layer"]))
