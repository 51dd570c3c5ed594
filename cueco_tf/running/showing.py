"""What a training shows while it lasts: a bar, a line each epoch, an estimate of the time."""

import time

import keras

from cueco_tf.progress import every, tqdm


class Progress(keras.callbacks.Callback):
    """A progress bar over all steps, a line each epoch, and early on an estimate of the time.

    Args:
        config: resolved `RunConfig`.
    """

    # Steps, or seconds where a step takes long: one step alone says little.
    ESTIMATE_AFTER, ESTIMATE_AT = 10, 30.0

    def __init__(self, config):
        super().__init__()
        self.config, self.total_steps = config, config.epochs * config.steps_per_epoch
        self.cells = (
            ("loss", "loss", ".3f"),
            *config.settings.cells(),
            ("images/s", "images_per_second", ".0f"),
            ("rank", "effective_rank", ".1f"),
            ("silhouette", "silhouette", ".2f"),
            ("k-NN", "knn_top1", ".1%"),
            ("probe", "online_top1", ".1%"),
        )
        self.bar = None

    def on_train_begin(self, logs=None):
        """Puts the bar on the screen."""
        if self.bar is None:
            step = int(self.model.step.numpy())
            # Where nobody watches, a line every half minute is enough.
            interval = every(30.0)
            self.bar = tqdm(
                total=self.total_steps,
                initial=step,
                unit="step",
                mininterval=interval,
                smoothing=0,
                leave=False,
            )
            self.looked_at, self.first_epoch, self.estimated = None, True, False
            self.steps, self.seconds = 0, 0.0

    def on_train_batch_end(self, batch, logs=None):
        """Moves the bar to the model's step; prints the estimate once."""
        step, now = int(self.model.step.numpy()), time.monotonic()
        ends_first = self.first_epoch and step % self.config.steps_per_epoch == 0
        # The first look has waited for a step to be built, the first epoch's last one, it may be,
        # for that of a smaller batch: not counted.
        if self.looked_at is not None and not ends_first:
            self.steps += step - self.bar.n
            self.seconds += now - self.looked_at
        self.looked_at = now
        self.bar.initial, self.bar.start_t = step - self.steps, time.time() - self.seconds
        # Else it closes as if it had never been shown.
        self.bar.last_print_t = max(self.bar.last_print_t, self.bar.start_t)
        self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)
        self.bar.update(step - self.bar.n)
        if not self.estimated:
            self._estimate()

    def _estimate(self):
        """Prints how long it will take, once enough has been seen."""
        if self.steps < self.ESTIMATE_AFTER and (self.steps < 2 or self.seconds < self.ESTIMATE_AT):
            return
        self.estimated = True
        each = self.seconds / self.steps
        minutes = each * (self.total_steps - self.bar.n) / 60
        self.bar.write(f"Estimated time: {_in_words(minutes)} ({1000 * each:,.0f} ms a step)")

    def on_epoch_end(self, epoch, logs=None):
        """Prints the epoch's line."""
        self.first_epoch = False
        cells = [f"epoch {epoch + 1:4d}"]
        for title, name, form in self.cells:
            if name in logs:
                cells.append(f"{title} {float(logs[name]):{form}}")
        self.bar.write("  ".join(cells))
        if note := self.config.settings.note(epoch + 1, self.config.epochs):
            self.bar.write(note)

    def close(self):
        """Takes the bar off the screen."""
        if self.bar is not None:
            self.bar.close()


def _in_words(minutes):
    hours = minutes / 60
    return f"{minutes:.1f} minutes" if hours < 2 else f"{hours:.1f} hours"
