"""What methods that learn from two views share: data into `fit`, schedules, the probe.

A method (CueCo here; MoCo, SimCLR, BYOL and others could join) subclasses `TwoViewModel` and
writes its own `train_step`.
"""

import warnings

import keras
import tensorflow as tf
from keras import ops

from cueco_tf.data.augment import TwoViews
from cueco_tf.data.views import check_images, from_arrays, from_dataset
from cueco_tf.distributed.replicas import ReplicatedModel, own_part, share_out

DEFAULT_BATCH_SIZE = 256

# Pulling towards clusters of a hardly trained encoder harms it. Digits, 60 epochs, NMI of seed 0:
# 0.86 after a warm-up of a tenth, 0.90 after three tenths, 0.89 without any pull.
WARMUP_SHARE = 0.3


class TwoViewModel(ReplicatedModel):
    """An encoder trained on pairs of views; the subclass's `train_step` says how.

    Weights: `step`, int64, the number of steps done; `schedule`, int64, (total steps, warm-up
    steps), 0 where unknown.

    Args:
        encoder: a built Keras model from images `(n, height, width, 3)` to features
            `(n, features)`.
        augment: function of `(images, seed)` that returns two views, or None for the recipe that
            suits the encoder's image size (`TwoViews.for_image_size`). To be saved with the model
            it has to be a registered Keras object, as `TwoViews` is.
        warmup_steps: integer >= 0, or None for three tenths of the total.
        total_steps: integer >= 1, the length of training for the schedules, or None to work it out
            in `fit` from the epochs and the length of the data set.
        num_classes: integer >= 2 to train an online linear probe beside the encoder, or None.
        seed: integer: initial weights, order and augmentation are functions of it.

    Raises:
        ValueError: for an encoder of other shapes, or a number out of range.
    """

    def __init__(
        self,
        encoder,
        augment=None,
        warmup_steps=None,
        total_steps=None,
        num_classes=None,
        seed=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if len(encoder.input_shape) != 4 or len(encoder.output_shape) != 2:
            raise ValueError(
                "`encoder` should map images (n, height, width, 3) to features (n, features). "
                f"Received: input {encoder.input_shape}, output {encoder.output_shape}"
            )
        for name, value, least in (
            ("warmup_steps", warmup_steps, 0),
            ("total_steps", total_steps, 1),
            ("num_classes", num_classes, 2),
        ):
            if value is not None and value < least:
                raise ValueError(f"`{name}` should be at least {least}. Received: {name}={value}")
        self.encoder = encoder
        self.image_shape = tuple(encoder.input_shape[1:])
        self.augment = augment or TwoViews.for_image_size(max(self.image_shape[:2]))
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.num_classes = num_classes
        self.seed = seed

        state = dict(dtype="int64", trainable=False, aggregation="only_first_replica")
        self.step = self.add_weight(shape=(), initializer="zeros", name="step", **state)
        self.schedule = self.add_weight(shape=(2,), initializer="zeros", name="schedule", **state)
        if num_classes is not None:
            self.probe = keras.layers.Dense(
                num_classes,
                kernel_initializer=keras.initializers.GlorotUniform(seed=seed + 2),
                dtype="float32",
                name="online_probe",
            )
            self.probe.build((None, encoder.output_shape[-1]))
            self.probe_accuracy = keras.metrics.Mean(name="online_top1")

    def _resolve_auto_jit_compile(self):
        """XLA only where `compile(jit_compile=True)` asks for it: on GPUs Keras would choose it,
        where nobody has measured which of the two is faster."""
        return False

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

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: for images of another shape or dtype, or labels that do not match.
            FloatingPointError: when the loss becomes NaN or infinite.
        """
        first_step = int(self.step.numpy())
        strategy = self.distribute_strategy
        part = own_part(strategy)
        if isinstance(x, tf.distribute.DistributedDataset):
            batches = x
        elif isinstance(x, tf.data.Dataset):
            if y is not None or batch_size is not None:
                raise ValueError("With a dataset, `y` and `batch_size` are part of it.")
            batches, steps_per_epoch = from_dataset(
                x, self.augment, self.image_shape, self.seed, first_step, steps_per_epoch, part
            )
            batches = share_out(strategy, batches)
        else:
            images, labels = check_images(x, self.image_shape), self._check_labels(x, y)
            batch_size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
            if batch_size < 1:
                raise ValueError(f"`batch_size` should be at least 1. Received: {batch_size}")
            batches, whole_epoch = from_arrays(
                images, labels, batch_size, self.augment, self.seed, first_step, part
            )
            batches = share_out(strategy, batches)
            steps_per_epoch = steps_per_epoch or whole_epoch
        self._set_schedule(first_step, epochs - initial_epoch, steps_per_epoch)
        return super().fit(
            batches,
            epochs=epochs,
            verbose=verbose,
            callbacks=[*self.monitors(), *(callbacks or [])],
            shuffle=False,  # the batches come shuffled
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
        )

    def monitors(self):
        """Callbacks that `fit` adds by itself; they watch, and change nothing."""
        return []

    def _check_labels(self, images, labels):
        if labels is None:
            return None
        labels = tf.convert_to_tensor(labels).numpy().reshape(-1)
        if len(labels) != len(images):
            raise ValueError(f"Received {len(images)} images, but {len(labels)} labels.")
        if labels.dtype.kind not in "iu":
            raise ValueError(f"Labels should be integers. Received dtype: {labels.dtype}")
        if self.num_classes is not None and labels.max() >= self.num_classes:
            raise ValueError(
                f"Labels should be below num_classes={self.num_classes}. Received: {labels.max()}"
            )
        return labels

    def _set_schedule(self, first_step, epochs, steps_per_epoch):
        total, warmup = self.total_steps, self.warmup_steps
        if total is None and steps_per_epoch is None:
            warnings.warn(
                "The length of the dataset is unknown, so the schedules cannot be laid out: the "
                "key momentum stays constant and the warm-up ends when the queue is full. Pass "
                "`total_steps` to the model, or `steps_per_epoch` to `fit`.",
                stacklevel=3,
            )
            total = 0
        elif total is None:
            total = first_step + epochs * steps_per_epoch
        self.schedule.assign([total, int(WARMUP_SHARE * total) if warmup is None else warmup])

    # The pieces a `train_step` is made of.

    def probe_loss(self, features, labels):
        """The online probe's loss on features that get no gradient from it.

        Its accuracy is reported apart from the loss, as `online_top1`.

        Args:
            features: `(batch, features)`.
            labels: `(batch,)` int32; -1 is ignored.

        Returns:
            Scalar: this replica's share of the mean over all labelled images.
        """
        if self.num_classes is None:
            return 0.0
        logits = self.probe(ops.stop_gradient(features))
        known = ops.cast(labels >= 0, "float32")
        count = self.replica_sum(ops.sum(known))
        targets = ops.maximum(labels, 0)
        losses = ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        hits = ops.cast(ops.equal(ops.argmax(logits, axis=-1), targets), "float32")
        divisor = ops.maximum(count, 1.0)
        self.probe_accuracy.update_state(
            self.replica_sum(ops.sum(hits * known)) / divisor, sample_weight=count
        )
        return ops.sum(losses * known) / divisor

    def get_config(self):
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "augment": keras.saving.serialize_keras_object(self.augment),
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "num_classes": self.num_classes,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        for name in ("encoder", "augment"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)
