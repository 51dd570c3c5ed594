"""Two random views of whole batches of images, as a function of the images and a seed.

Resized crop, flip, blur and colour are all linear, so a view is computed as three matrix products
an image: rows and columns are sampled by one matrix each (crop, flip and blur folded into it) and
the colours are mixed by a 3x3 matrix (brightness, contrast, saturation, hue and gray folded into
it). That is several times faster than a chain of image operations, and the result depends on
nothing but its arguments, so a resumed run sees the very same views.

keras-cv's layers would do the same a quarter as fast and keep random state that no checkpoint
holds; from it we use the one operation here that is not linear and draws nothing, solarisation.
"""

import dataclasses
import functools
import math

import keras
import tensorflow as tf

from cueco_tf.data.view_matrices import blurring, colours, sampling, tones
from cueco_tf.parts.uniform import uniform


@functools.cache
def _solarise_layer():
    import keras_cv  # imported here because it costs seconds and small images never need it

    # Inverts what is at least half bright, as the published recipes do.
    return keras_cv.layers.Solarization(value_range=(0, 255), threshold_factor=(128, 128))


@keras.saving.register_keras_serializable("cueco_tf")
@dataclasses.dataclass(frozen=True)
class TwoViews:
    """The random augmentation: call it with images and a seed to get two views.

    Each view goes through a resized crop, a horizontal flip, colour jitter, a change to gray, a
    Gaussian blur and solarisation, each with its own probability; those of blur and solarisation
    may differ between the views (BYOL). Values are clipped once, at the end. Images of other
    channels than three have no colours: saturation, hue and gray leave them as they are.

    Args:
        crop_scale: (least, most) share of the image's area that a crop covers, in (0, 1].
            Defaults to (0.2, 1.0).
        crop_ratio: (least, most) aspect ratio of a crop, width over height.
            Defaults to (3/4, 4/3).
        flip: probability of a horizontal flip. Defaults to 0.5.
        jitter: strengths of (brightness, contrast, saturation, hue), >= 0; hue in turns, at most
            0.5. Defaults to (0.4, 0.4, 0.4, 0.1).
        jitter_probability: defaults to 0.8.
        gray: probability of a gray image. Defaults to 0.2.
        blur: probability of a blur with a standard deviation of 0.1 to 2 pixels. Defaults to 0.
        solarise: probability that the second view is solarised. Defaults to 0.
        first_blur: the first view's own probability of a blur. Defaults to None: the same.
        first_solarise: probability that the first view is solarised. Defaults to 0.

    Raises:
        ValueError: for a probability outside [0, 1] or a range that is empty or out of bounds.

    References: MoCo-v2, https://arxiv.org/abs/2003.04297; BYOL, https://arxiv.org/abs/2006.07733,
    appendix B and table 6.
    """

    crop_scale: tuple = (0.2, 1.0)
    crop_ratio: tuple = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple = (0.4, 0.4, 0.4, 0.1)
    jitter_probability: float = 0.8
    gray: float = 0.2
    blur: float = 0.0
    solarise: float = 0.0
    first_blur: float | None = None
    first_solarise: float = 0.0

    def __post_init__(self):
        for name in ("crop_scale", "crop_ratio", "jitter"):
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        probabilities = ("flip", "jitter_probability", "gray", "blur", "solarise")
        for name in (*probabilities, "first_blur", "first_solarise"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"`{name}` should lie in [0, 1]. Received: {name}={value}")
        least, most = self.crop_scale
        if not 0 < least <= most <= 1:
            raise ValueError(
                f"`crop_scale` should be (least, most) with 0 < least <= most <= 1. "
                f"Received: crop_scale={self.crop_scale}"
            )
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(
                f"`crop_ratio` should be (least, most) with 0 < least <= most. "
                f"Received: crop_ratio={self.crop_ratio}"
            )
        if len(self.jitter) != 4 or min(self.jitter) < 0 or self.jitter[3] > 0.5:
            raise ValueError(
                "`jitter` should be four strengths >= 0, the last (hue) at most 0.5. "
                f"Received: jitter={self.jitter}"
            )

    @classmethod
    def for_image_size(cls, size, channels=3):
        """The recipe of the published baselines: blur and solarisation only above 64 pixels, and
        changes of colour only for three channels."""
        colourless = {} if channels == 3 else dict(jitter=(0.4, 0.4, 0.0, 0.0), gray=0.0)
        return cls(**colourless) if size <= 64 else cls(blur=0.5, solarise=0.2, **colourless)

    @property
    def changes_colours(self):
        """Whether something is asked for that only images of three channels have."""
        return max(self.jitter[2:]) > 0 or self.gray > 0

    def get_config(self):
        """All arguments by name, for Keras and JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        """Makes the views that `get_config` described."""
        return cls(**config)

    def __call__(self, images, seed):
        """Makes two views of every image.

        Args:
            images: `(batch, height, width, channels)`, pixels 0 to 255, any dtype.
            seed: two integers; the same seed gives the same views.

        Returns:
            Two float32 tensors of the shape of `images`, pixels 0 to 255.
        """
        return self.render(images, self.draws(tf.shape(images)[0], seed))

    def draws(self, count, seed):
        """Draws all that is random about the views of a batch.

        Drawn for the whole batch, a part of the rows gives those images the views that they get
        as part of it: a worker need not augment the others' images.

        Args:
            count: integer, the images of the batch.
            seed: two integers.

        Returns:
            `(count, 2, 14)` float32 in [0, 1): for each view of each image.
        """

        def draw(view, purpose, number):
            own = tf.random.experimental.stateless_fold_in(seed, 2 * purpose + view)
            return uniform((number, count), own)

        views = [tf.concat([draw(view, 0, 4), draw(view, 1, 10)], axis=0) for view in (0, 1)]
        return tf.transpose(tf.stack(views), (2, 0, 1))

    def render(self, images, draws, aspects=1.0, size=None):
        """Makes the two views that were drawn.

        Args:
            images: `(n, height, width, channels)`, pixels 0 to 255, any dtype: whole images,
                whatever shape they were brought to.
            draws: rows of what `draws` returned, `(n, 2, 14)`.
            aspects: height over width that the images are seen at, a number or `(n,)`. Defaults
                to 1.
            size: height and width of the views; None, the default, for the images' own.

        Returns:
            Two float32 tensors `(n, *size, channels)`, pixels 0 to 255.
        """
        size = size or images.shape[1:3]
        return tuple(self._render(images, view, draws, aspects, size) for view in (0, 1))

    def crop_boxes(self, draws, aspect=1.0):
        """The crops that were drawn.

        Args:
            draws: `(n, 2, 14)`.
            aspect: height over width of the images, a number or `(n,)`. Defaults to 1.

        Returns:
            `(n, 2, 4)` float32: top, left, bottom, right as parts of the height and width.
        """
        return tf.stack([self._boxes(draws, view, aspect) for view in (0, 1)], axis=1)

    def _boxes(self, draws, view, aspect=1.0):
        area, ratio, top, left = tf.unstack(draws[:, view, :4], axis=1)
        least, most = self.crop_scale
        area = least + (most - least) * area
        low, high = (math.log(r) for r in self.crop_ratio)
        ratio = tf.exp(low + (high - low) * ratio)
        height = tf.minimum(tf.sqrt(area / ratio / aspect), 1.0)
        width = tf.minimum(tf.sqrt(area * ratio * aspect), 1.0)
        top, left = top * (1.0 - height), left * (1.0 - width)
        return tf.stack([top, left, top + height, left + width], axis=1)

    def _render(self, images, view, draws, aspects, size):
        count = tf.shape(images)[0]
        length, breadth, channels = images.shape[1:]
        height, width = size
        flip, gray, blur, sigma, solarise, *jitter = tf.unstack(draws[:, view, 4:], axis=1)
        top, left, bottom, right = tf.unstack(self._boxes(draws, view, aspects), axis=1)
        flipped = flip < self.flip
        left, right = tf.where(flipped, right, left), tf.where(flipped, left, right)
        rows = sampling(top, bottom, height, length)  # (batch, height, length)
        columns = sampling(left, right, width, breadth)  # (batch, width, breadth)
        first_blur = self.blur if self.first_blur is None else self.first_blur
        blurred, solarised = ((first_blur, self.first_solarise), (self.blur, self.solarise))[view]
        if blurred > 0:
            sigma = tf.where(blur < blurred, 0.1 + 1.9 * sigma, 1e-3)
            rows = blurring(sigma, height) @ rows
            columns = blurring(sigma, width) @ columns

        lines = tf.reshape(tf.cast(images, tf.float32), (count, length, breadth * channels))
        planes = tf.reshape(rows @ lines, (count, height, breadth, channels))
        planes = tf.transpose(planes, (0, 3, 1, 2))
        planes = tf.matmul(planes, columns[:, None], transpose_b=True)
        pixels = tf.reshape(planes, (count, channels, height * width))
        pixels = tf.clip_by_value(self._jittered(pixels, jitter, gray), 0.0, 255.0)
        planes = tf.reshape(pixels, (count, channels, height, width))
        view_images = tf.transpose(planes, (0, 2, 3, 1))
        if solarised > 0:
            chosen = (solarise < solarised)[:, None, None, None]
            view_images = tf.where(chosen, _solarise_layer()(view_images), view_images)
        return view_images

    def _jittered(self, pixels, jitter, gray):
        """Pixels `(n, channels, pixels)` with the changes of brightness, contrast and colours."""
        apply, *draws = jitter
        on = tf.cast(apply < self.jitter_probability, tf.float32)
        brightness, contrast, *of_colour = (
            on * strength * (2.0 * draw - 1.0)
            for strength, draw in zip(self.jitter, draws, strict=True)
        )
        mean = tf.reduce_mean(pixels, axis=2)
        if pixels.shape[1] != 3:
            factor, offset = tones(mean, brightness, contrast)
            return factor[:, None, None] * pixels + offset[:, :, None]
        mixing, offset = colours(mean, brightness, contrast, *of_colour, gray < self.gray)
        return mixing @ pixels + offset[:, None, None]
