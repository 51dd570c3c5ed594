import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def python(script, **options):
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, **options)


def test_import_is_light_and_switches_the_fast_path_on():
    done = python(
        "import os, sys; os.environ.pop('TF_ENABLE_ONEDNN_OPTS', None); import cueco_tf; "
        "assert not {'tensorflow', 'keras', 'sklearn'} & set(sys.modules); "
        "assert os.environ['TF_ENABLE_ONEDNN_OPTS'] == '1'"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_importing_tensorflow_first_gets_one_warning():
    script = (
        "import os, sys, types; os.environ.pop('TF_ENABLE_ONEDNN_OPTS', None); "
        "sys.modules['tensorflow'] = types.ModuleType('tensorflow'); import cueco_tf, cueco_tf"
    )
    done = python(script)
    assert done.stderr.count("TensorFlow was imported before cueco_tf") == 1


def snippets(language="python"):
    """Those of the README, and of the pages that show how an export and its embeddings are used."""
    names = ("README.md", "docs/deploy.md", "docs/clusters.md")
    pages = [(ROOT / name).read_text() for name in names]
    return re.findall(rf"```{language}\n(.*?)```", "".join(pages), re.S)


@pytest.fixture
def snippets_folder(tmp_path, digits, digits_run, digits_export):
    """What the snippets expect to find: images as arrays and as files, a run, its export, the
    embeddings it gives, and clusters of these."""
    import numpy as np
    from PIL import Image

    from pipelines import clusters, embed

    np.save(tmp_path / "digits.npy", digits.test.images)
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(digits.test.images[:40]):
        Image.fromarray(image).save(tmp_path / "photos" / f"{i:03d}.png")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits").symlink_to(digits_run)
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "digits").symlink_to(digits_export)
    arguments = [digits_export, tmp_path / "photos", "--output", tmp_path / "photos.npz"]
    assert embed.main([str(argument) for argument in arguments]) == 0
    arguments = [tmp_path / "photos.npz", "--count", 10, "--output", tmp_path / "forty"]
    assert clusters.main([str(argument) for argument in arguments]) == 0
    return tmp_path


def test_the_style_is_kept():
    for command in (["format", "--check"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, ROOT], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_there_are_snippets():
    assert len(snippets()) >= 6 and len(snippets("bash")) >= 1


@pytest.mark.parametrize("snippet", snippets())
def test_the_snippets_run(snippet, snippets_folder):
    """Each snippet runs as printed, on a few images and for one epoch."""
    quick = re.sub(r"epochs=\d+", "epochs=1", snippet)
    done = python(quick, cwd=snippets_folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("snippet", snippets("bash"))
def test_the_commands_run(snippet, snippets_folder):
    (snippets_folder / "photos.npz").unlink()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", snippet],
        cwd=snippets_folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (snippets_folder / "photos-nearest.png").exists()
    assert len(list((snippets_folder / "sorted").rglob("*.png"))) == 40


@pytest.mark.slow
def test_a_wheel_holds_both_packages_and_the_commands(tmp_path):
    import zipfile

    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path]
    done = subprocess.run([*command, ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        commands = next(name for name in names if name.endswith("entry_points.txt"))
        commands = wheel.read(commands).decode()
    assert "cueco-train = cueco_tf.train:main" in commands
    for name in ("clusters", "duplicates", "embed", "export", "search"):
        assert f"cueco-{name} = pipelines.{name}:main" in commands
    for name in (
        "cueco_tf/methods/cueco.py",
        "cueco_tf/py.typed",
        "cueco_tf/data/imagenet100_wnids.txt",
    ):
        assert name in names
    for name in ("benchmark", "benchmarking/step"):
        assert f"pipelines/{name}.py" in names
    for name in ("base.html", "report.html", "clusters.html", "page.css", "page.js"):
        assert f"pipelines/reporting/templates/{name}" in names
    assert not any(name.startswith("tests") for name in names)


def test_command_buffers_are_asked_for_where_there_is_a_gpu(tmp_path):
    from cueco_tf.gpu import gpus_there, launch_less

    assert not gpus_there(tmp_path)
    (tmp_path / "nvidiactl").touch()
    assert not gpus_there(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert gpus_there(tmp_path)
    given = {"XLA_FLAGS": "--xla_dump_to=/x"}
    launch_less(given)
    assert given["XLA_FLAGS"].startswith("--xla_dump_to=/x --xla_gpu_enable_command_buffer=FUSION,")
    own = {"XLA_FLAGS": "--xla_gpu_enable_command_buffer="}
    launch_less(own)
    assert own == {"XLA_FLAGS": "--xla_gpu_enable_command_buffer="}
    # Without TensorFlow, which is not needed to read an export.
    script = (
        "import sys; from cueco_tf.gpu import launch_less; "
        "sys.path[:] = [path for path in sys.path if 'site-packages' not in path]; "
        "found = {}; launch_less(found); assert found == {}"
    )
    done = python(script)
    assert done.returncode == 0, done.stderr
    # TensorFlow, which ends the process at a flag that it does not know, takes them.
    script = "import tensorflow as tf; tf.function(lambda x: x + 1, jit_compile=True)(1.0)"
    fresh = dict(os.environ)
    launch_less(fresh)
    done = python(script, env=fresh)
    assert done.returncode == 0, done.stderr
