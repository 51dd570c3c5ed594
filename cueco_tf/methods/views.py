"""Two views that are not drawn alike."""

import dataclasses

import keras

from cueco_tf.data.augment import TwoViews


@keras.saving.register_keras_serializable("cueco_tf")
@dataclasses.dataclass(frozen=True)
class UnlikeViews(TwoViews):
    """`TwoViews` whose first view is blurred and solarised with probabilities of its own.

    What both have in common is drawn and made as there.

    Args:
        first_blur: probability that the first view is blurred; `blur` is the second's. Defaults
            to 0.
        first_solarise: probability that the first view is solarised; `solarise` is the second's.
            Defaults to 0.
        **kwargs: as in `TwoViews`.

    Raises:
        ValueError: as there.

    Reference: BYOL, https://arxiv.org/abs/2006.07733, table 6.
    """

    first_blur: float = 0.0
    first_solarise: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        self._of_first()  # holds its numbers against their rules

    def _of_first(self):
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(TwoViews)}
        return TwoViews(**given | dict(blur=self.first_blur, solarise=self.first_solarise))

    def _render(self, images, view, boxes, draws):
        if view == 1:
            return super()._render(images, view, boxes, draws)
        # Only a second view can be solarised: this one takes its place, with its own draws.
        return self._of_first()._render(images, 1, boxes, draws[:, ::-1])
