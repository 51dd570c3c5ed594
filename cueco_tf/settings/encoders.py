"""What an encoder is called, and where its weights begin: names, without the networks."""

import difflib
import re

from cueco_tf.settings.choices import APPLICATIONS, ENCODERS
from cueco_tf.settings.rules import Rule

NO_WEIGHTS, IMAGENET = "none", "imagenet"
_KINDS = "keras:NAME, file:PATH.keras or python:MODULE:FUNCTION"


def is_resnet(encoder):
    """Whether an encoder is one of ours, which come in any width."""
    return ":" not in encoder


def begins_elsewhere(encoder, weights):
    """Whether a network has to be kept as it began: its settings alone do not make it again."""
    return encoder.startswith(("file:", "python:")) or weights != NO_WEIGHTS


def in_words(encoder, width, weights=NO_WEIGHTS):
    """A network in a few words, such as `"resnet18, width 64"`."""
    width = "" if width is None else f", width {width}"
    begun = "" if weights == NO_WEIGHTS else f", begun with the weights of {weights}"
    return f"{encoder}{width}{begun}"


def _broken_name(value, others):
    kind, _, rest = value.partition(":")
    if kind == "keras" and rest not in APPLICATIONS:
        lower = {name.lower(): name for name in APPLICATIONS}
        close = difflib.get_close_matches(rest.lower(), lower, 2)
        example = " or ".join(lower[name] for name in close) or "MobileNetV3Small"
        return f"keras: and the name of a network of keras.applications, such as {example}"
    if kind == "python" and not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", rest):
        return "python:MODULE:FUNCTION"
    if kind == "file" and not rest.endswith(".keras"):
        return "file: and the path of a .keras file"
    known = value in ENCODERS or (rest and kind in ("keras", "file", "python"))
    return None if known else f"one of {', '.join(ENCODERS)}, {_KINDS}"


def _broken_weights(value, others):
    if not value:
        return "imagenet, a run folder, a .keras file or none"
    if value == IMAGENET and not others["encoder"].startswith("keras:"):
        return (
            f"a run or a .keras file for --encoder {others['encoder']}: keras:NAME has imagenet's"
        )
    if value == IMAGENET and others["channels"] not in (None, 3):
        return f"none for images of {others['channels']} channels: imagenet's are of three"
    return None


def _broken_freeze(value, others):
    epochs = others["epochs"]
    if value < 0 or (epochs is not None and value > epochs):
        return "at least 0" if epochs is None else f"in [0, epochs={epochs}]"
    if value and not begins_elsewhere(others["encoder"], others["weights"]):
        return "0 for an encoder that begins at random: give it --weights"
    return None


ENCODER, WEIGHTS, FREEZE_EPOCHS = Rule(_broken_name), Rule(_broken_weights), Rule(_broken_freeze)
