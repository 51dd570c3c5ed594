"""What ONNX Runtime may run a network on."""

DEVICES = ("auto", "cpu", "cuda")
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class DeviceError(ValueError):
    """A device that is not there; the message says what to do."""


def providers_for(device):
    """The providers of ONNX Runtime, in order, for a device.

    Args:
        device: one of `DEVICES`: `"auto"` takes a GPU where there is one.

    Returns:
        List of strings.

    Raises:
        DeviceError: for `"cuda"` with an ONNX Runtime that knows no GPU.
        ValueError: for another device.
    """
    import onnxruntime

    if device not in DEVICES:
        raise ValueError(f"`device` should be one of {', '.join(DEVICES)}. Received: {device!r}")
    if device == "cpu":
        return [_CPU]
    if _CUDA not in onnxruntime.get_available_providers():
        if device == "cuda":
            raise DeviceError(
                f"There is no device cuda: ONNX Runtime {onnxruntime.__version__}, as it is "
                f"installed, knows the CPU alone. Uninstall onnxruntime and pip install "
                f"onnxruntime-gpu, or leave --device cuda out."
            )
        return [_CPU]
    onnxruntime.preload_dlls()  # CUDA's and cuDNN's libraries, where they are Python packages
    return [_CUDA, _CPU]


def device_of(session, device):
    """What a session runs on: `"cpu"` or `"cuda"`.

    Args:
        session: of ONNX Runtime, which goes on without the GPU where it cannot use it.
        device: what was asked for.

    Raises:
        DeviceError: for `"cuda"` that cannot be used.
    """
    found = "cuda" if session.get_providers()[0] == _CUDA else "cpu"
    if device == "cuda" and found != device:
        raise DeviceError(
            "There is no device cuda: ONNX Runtime finds no GPU, or not the CUDA and cuDNN that it "
            "was built for. See nvidia-smi, or leave --device cuda out."
        )
    return found
