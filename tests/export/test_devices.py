"""What a network runs on, and how fast it is said to be."""

import re
import time

import numpy as np
import onnxruntime
import pytest

from cueco_tf.embedding.pace import Pace
from cueco_tf.export import devices
from cueco_tf.export.reading import read_export
from pipelines import embed

NO_GPU = "CUDAExecutionProvider" not in onnxruntime.get_available_providers()


@pytest.mark.skipif(not NO_GPU, reason="this ONNX Runtime knows GPUs")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_a_line(digits_export, digits, tmp_path, capsys):
    export, images = read_export(digits_export), digits.test.images[:40]
    auto, cpu = export.encoder("auto"), export.encoder()
    assert auto.device == cpu.device == "cpu" and auto.batch_size == 32
    for one, other in zip(auto(images), cpu(images), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(devices.DeviceError, match="knows the CPU alone"):
        export.encoder("cuda")
    with pytest.raises(ValueError, match="should be one of auto, cpu, cuda"):
        export.encoder("tpu")
    # It went on without the GPU, as a runtime that was built for one does where there is none.
    with pytest.raises(devices.DeviceError, match="ONNX Runtime finds no GPU"):
        devices.device_of(cpu._session, "cuda")

    np.save(tmp_path / "a.npy", images)
    job = [str(digits_export), str(tmp_path / "a.npy"), "--output", str(tmp_path / "a.npz")]
    assert embed.main([*job, "--device", "cuda"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "There is no device cuda" in line and [p.name for p in tmp_path.iterdir()] == ["a.npy"]
    assert embed.main([*job, "--device", "auto"]) == 0
    said = capsys.readouterr().out.splitlines()[-2]  # before what to do next
    found = re.fullmatch(
        r"([\d,]+) images/s on cpu, bound by (reading|the network): reading images took (\d+)% of "
        r"the threads' time, the network (\d+)%",
        said,
    )
    assert found and int(found[3]) + int(found[4]) == 100
    assert (found[2] == "reading") == (int(found[3]) > 50)


def test_the_side_that_takes_longer_bounds(digits_export, digits):
    encoder = read_export(digits_export).encoder()
    encoder(digits.test.images[:32])  # before the count
    pace = Pace(encoder)
    with pace.running():
        with pace.reading(30):
            time.sleep(0.2)
        encoder(digits.test.images[:32])
    assert pace.images == 30 and pace.network > 0 and pace.read + pace.network <= pace.seconds
    share = pace.read / (pace.read + pace.network)
    assert f"on cpu, bound by reading: reading images took {share:.0%} of" in str(pace)
    pace.read = 0.0
    assert "bound by the network: reading images took 0% of" in str(pace)
    encoder.device = "cuda"  # where one thread after the other uses the network
    busy = pace.network / pace.seconds
    assert f"on cuda, bound by reading: the network was at work {busy:.0%} of" in str(pace)
    pace.seconds = pace.network
    assert "bound by the network: the network was at work 100% of" in str(pace)
