"""The device that a benchmark runs on."""

from cueco_tf.process import import_tensorflow


def choose(name):
    """Sets TensorFlow up for a device, before it has computed anything.

    On a GPU TensorFlow takes memory as it needs it, so that another library finds some too.

    Args:
        name: `"cpu"`, which hides GPUs; `"gpu"`; or None for a GPU where there is one.

    Returns:
        `"cpu"` or `"gpu"`.

    Raises:
        ValueError: for a GPU where there is none.
    """
    tf = import_tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    if name == "gpu" and not gpus:
        raise ValueError("TensorFlow finds no GPU here: leave --device out, or give cpu.")
    if name == "cpu" and gpus:
        tf.config.set_visible_devices([], "GPU")
    elif gpus:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        return "gpu"
    return "cpu"


def described():
    """The device that TensorFlow computes on: the name of its first GPU, or `"CPU"`."""
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else "CPU"
