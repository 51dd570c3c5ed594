"""A model that is trained on two random views of each image, and where its step finds them."""

import keras
import tensorflow as tf

from cueco_tf.data.late import Drawn, Late, is_apart
from cueco_tf.data.layer_views import as_augmentation
from cueco_tf.data.resident import Resident, can_reside
from cueco_tf.distributed.replicas import ReplicatedModel, own_part
from cueco_tf.methods.encoder_checks import checked_encoder
from cueco_tf.methods.health import FiniteMonitor
from cueco_tf.methods.sources import ArraySource


class TwoViewModel(ReplicatedModel):
    """A model whose `train_step` gets two views of each image of a batch.

    Weights: `step`, int64, the number of steps done; `total_steps`, int64, the length of training,
    0 where unknown.

    Args:
        encoder: a Keras model from images `(n, height, width, 3)` to features `(n, features)`:
            functional, sequential, or subclassed with a `get_config`.
        image_size: the height and width of the images, an integer or two, for an encoder that
            takes any; None for the encoder's own. Defaults to None.
        augment: function of `(images, seed)` that returns two views; a Keras layer or model, which
            is called for each of the two; or None for the recipe that suits the image size
            (`TwoViews.for_image_size`). To be saved with the model it has to be a registered Keras
            object, as `TwoViews` and layers are.
        total_steps: integer >= 1, the length of training for the schedules, or None to work it out
            in `fit` from the epochs and the length of the data set.
        seed: integer: initial weights, order and augmentation are functions of it.

    Raises:
        ValueError: for an encoder of other shapes, or a number out of range.
    """

    def __init__(self, encoder, augment=None, total_steps=None, seed=0, image_size=None, **kwargs):
        encoder, image_shape = checked_encoder(encoder, image_size)
        super().__init__(**kwargs)
        if total_steps is not None and total_steps < 1:
            raise ValueError(
                f"`total_steps` should be at least 1. Received: total_steps={total_steps}"
            )
        self.encoder, self.seed, self._given_steps = encoder, seed, total_steps
        self.image_shape = image_shape
        self.augment = as_augmentation(augment, image_shape)
        state = dict(dtype="int64", trainable=False, aggregation="only_first_replica")
        self.step = self.add_weight(shape=(), initializer="zeros", name="step", **state)
        self.total_steps = self.add_weight(
            shape=(), initializer="zeros", name="total_steps", **state
        )
        self._resident = None  # the images, where they lie on the device
        self.first_step = 0  # of the epoch under way
        self._held_out = None  # what `fit` validates on

    def begin(self, epochs, steps_per_epoch):
        """Reads, when the first step is about to be taken, what may have changed until then:
        callbacks restore states when training begins.

        Args:
            epochs: integer, how many are left.
            steps_per_epoch: integer, or None.
        """
        done, total = self.steps_done(), self._given_steps
        if total is None:
            total = 0 if steps_per_epoch is None else done + epochs * steps_per_epoch
        self.total_steps.assign(total)
        self.lay_out(total)
        self.count_from(done, steps_per_epoch)

    def training_batches(self, source, steps_per_epoch, on_device):
        """What the loop of `fit` walks through.

        Args:
            source: of `methods.sources`.
            steps_per_epoch: integer, or None for the whole of it.
            on_device: as in `fit`.

        Returns:
            `(batches, steps_per_epoch)`; the latter is None where it is unknown.
        """
        if isinstance(source, ArraySource):
            self.check_fit(len(source.images), source.batch_size)
            source.check_use()
            on_device = self._is_on_device(on_device)
            # TensorFlow sends processes no uint8.
            alone = own_part(self.distribute_strategy)[1] == 1
            if on_device and alone and can_reside(source.images, self.augment):
                batches, whole = self._keep_on_device(source)
                return batches, steps_per_epoch or whole
        self.let_go()
        augment = self.sent(on_device)
        return source.training(lambda: self.first_step, steps_per_epoch, augment)

    def sent(self, on_device=None):
        """The augmentation that makes what the step is sent: views, or images and draws of which
        the step makes them itself.

        Args:
            on_device: as in `fit`. Defaults to None.

        Returns:
            `augment` itself, or a `Late` one.
        """
        late = self._is_on_device(on_device) and is_apart(self.augment)
        return Late(self.augment) if late else self.augment

    def _is_on_device(self, on_device):
        gpus = tf.config.list_logical_devices("GPU")
        return bool(gpus) if on_device is None else on_device

    def steps_done(self):
        """How many steps the model has been trained for, an integer; the next one's number."""
        return int(self.step.numpy())

    def check_fit(self, images, batch_size):
        """Looks at an array's size before `fit` begins.

        Args:
            images: integer, how many there are.
            batch_size: integer, of all replicas together.
        """

    def _keep_on_device(self, source):
        """Makes steps take their images from the device, which keeps them from fit to fit."""
        strategy = self.distribute_strategy
        given = source.images, source.labels, source.batch_size, self.augment, self.seed
        if self._resident is None or not self._resident.refill(*given):
            with strategy.scope():
                self._resident = Resident(*given)
            self.train_function = None  # the former one looks elsewhere
        nothing = tf.data.Dataset.range(1).repeat()  # `fit` wants batches
        nothing = strategy.distribute_datasets_from_function(lambda _: nothing)
        return nothing, self._resident.steps_per_epoch

    def let_go(self):
        """Makes steps take their views from the batches of the loop."""
        if self._resident is not None:
            self._resident = self.train_function = None

    def views_of(self, data):
        """The two views and the labels of a batch: `data` itself, with its views rendered, or where
        the images lie on the device `data` is its size."""
        if self._resident is not None:
            batch = self.at_once(lambda step: self._resident.batch(step, data), self.step.value)
            return batch[0], tf.cast(batch[1], tf.int32)  # which XLA would keep on the host
        views, labels = data
        if isinstance(views, Drawn):
            size = self.image_shape[:2]
            views = self.at_once(lambda *drawn: Drawn(*drawn).rendered(self.augment, size), *views)
        return views, labels

    def make_train_function(self, force=False):
        """Makes the function that Keras's loop calls: some steps, and the logs of the last."""
        if self._resident is None or (self.train_function is not None and not force):
            super().make_train_function(force)
            return
        resident, step = self._resident, self.compiled_step()
        whole = self.repeated(step, resident.batch_size)
        smaller = resident.last_size < resident.batch_size

        def function(iterator):
            for place, count in resident.epochs_of(*self.next_steps()):
                ends = smaller and place + count == resident.steps_per_epoch
                if count > ends:
                    logs = whole(count - ends)
                if ends:
                    logs = step(resident.last_size)
            return logs

        self.train_function = function

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
            "image_size": list(self.image_shape[:2]),
        }

    @classmethod
    def from_config(cls, config):
        """Makes the model that `get_config` described, with fresh weights."""
        config = dict(config)
        for name in ("encoder", "augment"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)
