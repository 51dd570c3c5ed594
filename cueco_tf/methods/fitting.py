"""Images into `fit`: a model that is trained on two random views of each image."""

import warnings

import keras
import tensorflow as tf

from cueco_tf.data.augment import TwoViews
from cueco_tf.data.decoding import in_one_line
from cueco_tf.data.labels import check_labels
from cueco_tf.data.resident import Resident, can_reside
from cueco_tf.data.views import (
    check_images,
    from_arrays,
    from_dataset,
    warn_of_unused,
)
from cueco_tf.distributed.replicas import ReplicatedModel, own_part, share_out
from cueco_tf.methods.health import FiniteMonitor

DEFAULT_BATCH_SIZE = 256


class TwoViewModel(ReplicatedModel):
    """A model whose `train_step` gets two views of each image of a batch.

    Weights: `step`, int64, the number of steps done; `total_steps`, int64, the length of training,
    0 where unknown.

    Args:
        encoder: a built Keras model from images `(n, height, width, 3)` to features
            `(n, features)`.
        augment: function of `(images, seed)` that returns two views, or None for the recipe that
            suits the encoder's image size (`TwoViews.for_image_size`). To be saved with the model
            it has to be a registered Keras object, as `TwoViews` is.
        total_steps: integer >= 1, the length of training for the schedules, or None to work it out
            in `fit` from the epochs and the length of the data set.
        seed: integer: initial weights, order and augmentation are functions of it.

    Raises:
        ValueError: for an encoder of other shapes, or a number out of range.
    """

    def __init__(self, encoder, augment=None, total_steps=None, seed=0, **kwargs):
        super().__init__(**kwargs)
        if len(encoder.input_shape) != 4 or len(encoder.output_shape) != 2:
            raise ValueError(
                "`encoder` should map images (n, height, width, 3) to features (n, features). "
                f"Received: input {encoder.input_shape}, output {encoder.output_shape}"
            )
        if total_steps is not None and total_steps < 1:
            raise ValueError(
                f"`total_steps` should be at least 1. Received: total_steps={total_steps}"
            )
        self.encoder, self.seed, self._given_steps = encoder, seed, total_steps
        self.image_shape = tuple(encoder.input_shape[1:])
        self.augment = augment or TwoViews.for_image_size(max(self.image_shape[:2]))
        state = dict(dtype="int64", trainable=False, aggregation="only_first_replica")
        self.step = self.add_weight(shape=(), initializer="zeros", name="step", **state)
        self.total_steps = self.add_weight(
            shape=(), initializer="zeros", name="total_steps", **state
        )
        self._resident = None  # the images, where they lie on the device

    def fit(
        self,
        x,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        initial_epoch=0,
        steps_per_epoch=None,
        on_device=None,
    ):
        """Trains on images; goes on from where an earlier `fit` stopped.

        Args:
            x: `(n, height, width, 3)` array, pixels 0 to 255, uint8 or float; or a batched
                `tf.data.Dataset` of images, of `(images, labels)`, or of ready-made views
                `(view1, view2)` or `((view1, view2), labels)`, which reach the encoder untouched.
                Batches are those of all replicas together. What `replicas.share_out` returns is
                taken as it is, with `steps_per_epoch`.
            y: `(n,)` integer labels for the online probe, -1 where unknown. Only with an array.
            batch_size: integer >= 1, defaults to 256. Only with an array.
            epochs, verbose, callbacks, initial_epoch, steps_per_epoch: as in `keras.Model.fit`.
            on_device: whether a uint8 array, which must not be written to, lies on the device and
                the step makes its views, the same ones to rounding; None for wherever there is a
                GPU and it fits. Among several processes it never does. Defaults to None.

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: for images of another shape or dtype, or labels that do not match.
            FloatingPointError: when the loss becomes NaN or infinite.
        """
        first_step = int(self.step.numpy())
        if isinstance(x, tf.distribute.DistributedDataset):
            self._let_go()
            batches = x
        elif isinstance(x, tf.data.Dataset):
            if y is not None or batch_size is not None:
                raise ValueError("With a dataset, `y` and `batch_size` are part of it.")
            batches, steps_per_epoch = self._from_dataset(x, first_step, steps_per_epoch)
        else:
            given = x, y, batch_size, on_device
            batches, whole_epoch = self._from_arrays(*given, first_step)
            steps_per_epoch = steps_per_epoch or whole_epoch
        self._set_length(first_step, epochs - initial_epoch, steps_per_epoch)
        self.count_from(first_step, steps_per_epoch)
        try:
            return super().fit(
                batches,
                epochs=epochs,
                verbose=verbose,
                callbacks=[*self.monitors(), *(callbacks or [])],
                shuffle=False,  # the batches come shuffled
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
            )
        except tf.errors.InvalidArgumentError as error:  # with a page of TensorFlow's trace
            if "ValueError: Labels should" not in error.message:
                raise
            raise ValueError(in_one_line(error)) from None

    def _from_dataset(self, dataset, first_step, steps_per_epoch):
        self._let_go()
        part = own_part(self.distribute_strategy)
        given = self.augment, self.image_shape, self.seed, first_step, steps_per_epoch
        batches, steps_per_epoch = from_dataset(dataset, *given, part, self.num_classes)
        return share_out(self.distribute_strategy, batches), steps_per_epoch

    def _from_arrays(self, images, labels, batch_size, on_device, first_step):
        images, labels = check_images(images, self.image_shape), self._check_labels(images, labels)
        batch_size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
        if batch_size < 1:
            raise ValueError(f"`batch_size` should be at least 1. Received: {batch_size}")
        if on_device is None:
            on_device = bool(tf.config.list_logical_devices("GPU"))
        part = own_part(self.distribute_strategy)
        alone = part[1] == 1  # TensorFlow sends processes no uint8
        given = images, labels, batch_size, self.augment, self.seed
        if on_device and alone and can_reside(images, self.augment):
            return self._keep_on_device(*given)
        self._let_go()
        batches, steps_per_epoch = from_arrays(*given, first_step, part)
        return share_out(self.distribute_strategy, batches), steps_per_epoch

    def _keep_on_device(self, *given):
        """Makes steps take their images from the device, which keeps them from fit to fit."""
        strategy = self.distribute_strategy
        if self._resident is None or not self._resident.holds(*given):
            with strategy.scope():
                self._resident = Resident(*given)
            self.train_function = None  # the former one looks elsewhere
        nothing = tf.data.Dataset.range(1).repeat()  # `fit` wants batches
        nothing = strategy.distribute_datasets_from_function(lambda _: nothing)
        return nothing, self._resident.steps_per_epoch

    def _let_go(self):
        if self._resident is not None:
            self._resident = self.train_function = None

    def views_of(self, data):
        """The two views and the labels of a batch: `data` itself, or where the images lie on the
        device `data` is its size."""
        if self._resident is None:
            return data
        return self._resident.batch(self.step.value, data)

    def make_train_function(self, force=False):
        """Makes the function that Keras's loop calls: some steps, and the logs of the last."""
        if self._resident is None or (self.train_function is not None and not force):
            super().make_train_function(force)
            return
        resident, step = self._resident, self.compiled_step()

        def steps(count):
            for _ in tf.range(count):
                step(resident.batch_size)

        steps = steps if self.run_eagerly else tf.function(steps)

        def function(iterator):
            for place, count in resident.epochs_of(*self.next_steps()):
                if count > 1:
                    steps(tf.constant(count - 1))
                ends = place + count == resident.steps_per_epoch
                logs = step(resident.last_size if ends else resident.batch_size)
            return logs

        self.train_function = function

    def _check_labels(self, images, labels):
        if labels is None:
            return None
        labels = check_labels(labels, len(images), self.num_classes)
        if self.num_classes is None:
            warn_of_unused(labels)
        return labels

    def _set_length(self, first_step, epochs, steps_per_epoch):
        total = self._given_steps
        if total is None and steps_per_epoch is None:
            warnings.warn(
                "The length of the dataset is unknown, so schedules cannot be laid out over it. "
                "Pass `total_steps` to the model, or `steps_per_epoch` to `fit`.",
                stacklevel=4,
            )
            total = 0
        elif total is None:
            total = first_step + epochs * steps_per_epoch
        self.total_steps.assign(total)
        self.lay_out(total)

    def lay_out(self, total_steps):
        """Fits schedules of the model's own to the length of training, 0 where it is unknown."""

    def monitors(self):
        """Callbacks that `fit` adds by itself; they watch, and change nothing."""
        return [FiniteMonitor()]

    def get_config(self):
        """The arguments that every model has, for Keras to save; encoder and augmentation as Keras
        objects."""
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "augment": keras.saving.serialize_keras_object(self.augment),
            "total_steps": self._given_steps,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the model that `get_config` described, with fresh weights."""
        config = dict(config)
        for name in ("encoder", "augment"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)
