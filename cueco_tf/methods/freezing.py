"""An encoder that stays as it is for a while."""

import contextlib


@contextlib.contextmanager
def frozen_encoder(model):
    """While it is entered, all of a model is trained but its encoder, which is in inference mode.

    Afterwards what was trained before is trained again; what was frozen before stays so. The
    optimizer goes on with its state.

    Args:
        model: a compiled `Method` whose optimizer is built.
    """
    layers = model.encoder._flatten_layers()  # from the outside in
    flags = [layer.trainable for layer in layers]
    model.encoder.trainable = False
    model.compile_again()
    try:
        yield
    finally:
        for layer, flag in zip(layers, flags, strict=True):
            layer.trainable = flag
        model.compile_again()
