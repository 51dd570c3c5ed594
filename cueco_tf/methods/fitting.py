"""Keras's surface: what `fit`, `evaluate` and their like take, and what becomes of it."""

import warnings

import keras
import tensorflow as tf

from cueco_tf.data.decoding import in_one_line
from cueco_tf.distributed.compiling import refuse
from cueco_tf.methods.encoder_checks import check_numbers
from cueco_tf.methods.held_out import HeldOut
from cueco_tf.methods.sources import StreamSource, is_stream, source_of, split_off
from cueco_tf.methods.two_views import TwoViewModel

_NO_WEIGHTS = (
    "the losses compare images with each other, so none of them counts more than another, and "
    "labels teach the encoder nothing."
)


class FittingModel(TwoViewModel):
    """A two-view model that is trained and evaluated as Keras's users expect."""

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
        on_device=None,
        settle=True,
    ):
        """Trains on images; goes on from where an earlier `fit` stopped.

        Args:
            x: `(n, height, width, 3)` array, pixels 0 to 255, uint8 or float; or a batched
                `tf.data.Dataset`, generator or `keras.utils.PyDataset` of images, of `(images,
                labels)`, or of ready-made views `(view1, view2)` or `((view1, view2), labels)`,
                which reach the encoder untouched. Batches are those of all replicas together. What
                `replicas.share_out` returns is taken as it is, with `steps_per_epoch`.
            y: `(n,)` integer labels for the online probe and k-NN, -1 where unknown. Only with an
                array.
            batch_size: integer >= 1, defaults to 256. Only with an array.
            epochs, verbose, callbacks, initial_epoch, steps_per_epoch: as in `keras.Model.fit`.
            validation_data: held-out images, as `x` or as `(x, y)`. After an epoch `evaluate` of
                them stands in the logs, its names after `val_`; where both sides have labels,
                `val_knn_top1` too, the k-NN accuracy of the features (k = 20, 10,000 images of each
                side at most).
            validation_split, validation_steps, validation_batch_size, validation_freq: as in
                `keras.Model.fit`; the batch size defaults to `batch_size`.
            shuffle: True: an array is shuffled anew each epoch, a dataset comes as it comes.
            class_weight, sample_weight: None.
            on_device: whether the step makes the views, the same ones to rounding: of a uint8 array
                that lies on the device where it fits and one process trains, else of images that
                are sent with what was drawn for them. None for wherever there is a GPU. Defaults to
                None.
            settle: whether clusters are made right for the encoder once training is over (see
                `settle`), on 50,000 images at most, which are read once more: at the end of each
                `fit` where the length of training was not given, else at its end. Defaults to True.

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: for images of another shape or dtype, labels that do not match, or layers
                frozen or thawed without another `compile`.
            FloatingPointError: when the loss becomes NaN or infinite.
        """
        refuse(_NO_WEIGHTS, class_weight=class_weight, sample_weight=sample_weight)
        if not shuffle and not is_stream(x):
            raise ValueError(
                f"Arrays are shuffled anew each epoch. For an order of your own give a "
                f"tf.data.Dataset. Received: shuffle={shuffle!r}"
            )
        if validation_split and validation_data is None:
            x, y, validation_data = split_off(x, y, validation_split)
        self._check()
        source = source_of(self, x, y, batch_size)
        source.scores = validation_data is not None
        batches, steps_per_epoch = self.training_batches(source, steps_per_epoch, on_device)
        self._warn_of_unknown_length(steps_per_epoch)
        if validation_data is not None:
            size = validation_batch_size or batch_size
            validation_data, validation_steps = self._validation_batches(
                source, validation_data, size, validation_steps
            )
        beginning = _Beginning(lambda epoch: self.begin(epochs - epoch, steps_per_epoch))
        try:
            history = super().fit(
                batches,
                epochs=epochs,
                verbose=verbose,
                callbacks=[*self.monitors(), *_listed(callbacks), beginning],
                shuffle=False,  # the batches come shuffled
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                validation_data=validation_data,
                validation_steps=validation_steps,
                validation_freq=validation_freq,
            )
        except tf.errors.InvalidArgumentError as error:  # with a page of TensorFlow's trace
            raise _of_labels(error) from None
        finally:
            self._held_out = None
        over = self._given_steps is None or self.steps_done() >= self._given_steps
        if settle and over and source.again:
            self.finish(source)
        return history

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        steps=None,
        callbacks=None,
        return_dict=False,
        **kwargs,
    ):
        """The losses of images that nothing is learnt from.

        Networks are in inference mode, the two views of an image are the same each time, and no
        state changes. Losses that compare the images of a batch depend on its size.

        Args:
            x, y, batch_size: as in `fit`.
            verbose, steps, callbacks, return_dict: as in `keras.Model.evaluate`.
            sample_weight: None.
            **kwargs: what Keras's `fit` passes when it validates.

        Returns:
            A dict of means over the images: `loss`, each loss by its name and, of labelled images
            and with `num_classes`, `online_top1`. Without `return_dict` a list of its values.

        Raises:
            ValueError: as `fit`.
        """
        if kwargs:  # the batches of `fit`
            logs = super().evaluate(
                x=x, steps=steps, callbacks=callbacks, return_dict=True, **kwargs
            )
            return self._held_out.complete(logs)
        refuse(_NO_WEIGHTS, sample_weight=sample_weight)
        source = source_of(self, x, y, batch_size)
        batches, steps = source.held_out(steps)
        logs = super().evaluate(
            batches, verbose=verbose, steps=steps, callbacks=callbacks, return_dict=True
        )
        if not source.labelled:
            logs.pop("online_top1", None)
        return logs if return_dict else list(logs.values())

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """One step on a batch, its views drawn for the number of the step.

        Schedules need the length of training: give the model `total_steps`.

        Args:
            x, y: one batch of what `fit` takes.
            sample_weight, class_weight: None.
            return_dict: as in `keras.Model.train_on_batch`.

        Returns:
            The logs of the step, a dict of floats, or without `return_dict` a list of its values.
        """
        refuse(_NO_WEIGHTS, class_weight=class_weight, sample_weight=sample_weight)
        self._check()
        self.let_go()
        source = StreamSource(self, tf.data.Dataset.from_tensors(x if y is None else (x, y)))
        batches, _ = source.training(lambda: self.first_step, 1, self.sent())
        self._maybe_symbolic_build()
        self.make_train_function()
        self.reset_metrics()
        self.begin(0, None)
        self.first_step = self.steps_done()
        logs = {name: float(log) for name, log in self.train_function(iter(batches)).items()}
        return logs if return_dict else list(logs.values())

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """`evaluate` of one batch, with its results."""
        refuse(_NO_WEIGHTS, sample_weight=sample_weight)
        batch = tf.data.Dataset.from_tensors(x if y is None else (x, y))
        return self.evaluate(batch, verbose=0, return_dict=return_dict)

    def _check(self):
        check_numbers()
        self.check_trainable()

    def _warn_of_unknown_length(self, steps_per_epoch):
        if self._given_steps is None and steps_per_epoch is None:
            warnings.warn(
                "The length of the dataset is unknown, so schedules cannot be laid out over it. "
                "Pass `total_steps` to the model, or `steps_per_epoch` to `fit`.",
                stacklevel=3,
            )

    def _validation_batches(self, source, given, batch_size, steps):
        """`(batches, steps)` of what `fit` validates on."""
        given = tuple(given) if isinstance(given, (tuple, list)) else (given,)
        x, y, sample_weight = (*given, None, None)[:3]
        refuse(_NO_WEIGHTS, sample_weight=sample_weight)
        held = source_of(self, x, y, None if is_stream(x) else batch_size)
        self._held_out = HeldOut(self, source, held)
        return held.held_out(steps)


class _Beginning(keras.callbacks.Callback):
    """Begins after all other callbacks have: calls a function with the number of the first epoch,
    and notes each epoch's first step."""

    def __init__(self, begin):
        super().__init__()
        self.begin = begin

    def on_epoch_begin(self, epoch, logs=None):
        """Reads what may have changed until now. (The step's own variable counts on as soon as a
        step has begun, be its batch there or not.)"""
        if self.begin is not None:
            self.begin(epoch)
        self.begin = None
        self.model.first_step = self.model.steps_done()


def _of_labels(error):
    """What a data set's labels were refused for while it streamed, or else the error itself."""
    bad = "ValueError: Labels should" in error.message
    return ValueError(in_one_line(error)) if bad else error


def _listed(callbacks):
    """Callbacks in each of the forms that Keras takes, as a list."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks.callbacks
    if isinstance(callbacks, keras.callbacks.Callback):
        return [callbacks]
    return list(callbacks or ())
