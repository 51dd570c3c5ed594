"""Makes a page to look at a run: `python -m pipelines.report RUN`."""

import dataclasses
import shlex
import sys
from pathlib import Path

from cueco_tf.data.presence import check_there
from cueco_tf.ownership import own
from cueco_tf.process import command, fail, import_tensorflow, suggest, twin
from cueco_tf.running.checkpoints import CheckpointError
from cueco_tf.running.run_folder import RunError, RunFolder
from cueco_tf.storage import new_folder
from pipelines.command import UsageError, add_data_dir, options_of, parser_of
from pipelines.results.page import Page

_DESCRIPTION = """\
Makes a page to look at a run, finished or not: RUN/report/index.html, one file that opens from
disk, and its figures as PNG files beside it.

  python -m pipelines.report runs/digits
  python -m pipelines.report runs/cifar100 --data-dir ~/tensorflow_datasets
  python -m pipelines.report runs/photos --images 20000      a quicker look at a large set

The page begins with what was found: how many clusters are used, the clusters as sheets of images
with their names, the largest first, to be sorted and searched, a map drawn as images, odd ones out
and near-duplicates. Then come nearest neighbours, what was watched in training, how similar images
are within and between clusters, the scores beside their baselines, and which class is in which
cluster. What needs labels is left out where there are none.
"""

_EPILOG = """\
The scores are those of `python -m pipelines.evaluate RUN` where it has been run, else those that
training ended with. The same run gives the same report; an older one is replaced once the new one
is complete.

Exit codes: 0 done, 2 a folder, data set or disk that cannot serve, 130 stopped.
"""

MOST_IMAGES = 100_000


def build_parser():
    """The command line."""
    parser = parser_of("report", _DESCRIPTION, _EPILOG)
    parser.add_argument("run", metavar="RUN", help="a run folder of cueco_tf.train")
    add_data_dir(parser)
    parser.add_argument(
        "--images",
        type=int,
        default=MOST_IMAGES,
        metavar="N",
        help=f"look at a random N of the training images, 2 to {MOST_IMAGES} (default: "
        f"{MOST_IMAGES})",
    )
    return parser


@command
def main(argv=None):
    """Runs the command line and returns the exit code."""
    options = build_parser().parse_args(argv)
    try:
        page = _report(options)
    except (ValueError, CheckpointError, OSError) as error:
        return fail(error)
    except KeyboardInterrupt:
        return fail("stopped; an earlier report stands as it was.", 130)
    print(f"Report: {page} ({page.stat().st_size / 1e6:.1f} MB)")
    name = shlex.quote(options.run)
    if RunFolder(Path(options.run)).summary.exists():
        suggest(f"python -m pipelines.export {name}")
    else:
        suggest(f"python -m cueco_tf.train --run-dir {name} --resume")
    return 0


@twin
def report(run, **options):
    """Makes the page to look at a run, as the command does.

    Args:
        run: path of a run folder.
        **options: those of the command by name: `data_dir`, `images`.

    Returns:
        The path of the page, RUN/report/index.html, which a notebook shows.

    Raises:
        TypeError: for an option that there is not.
        ValueError, CheckpointError, OSError: for what the user has to mend; an earlier report then
            stands as it was.
    """
    return _report(options_of(build_parser(), run=run, **options))


def _report(options):
    """Makes the report, and returns the path of its page."""
    if not 2 <= options.images <= MOST_IMAGES:
        raise UsageError(f"--images should be in [2, {MOST_IMAGES}]. Received: {options.images}")
    folder = RunFolder(Path(options.run))
    config = folder.read_config()
    folder.check_begun()
    _check_target(folder)
    evaluation = folder.read_evaluation()
    check_there(config.dataset, options.data_dir)
    with own(folder.path / "report"):
        tf = import_tensorflow()  # only after everything that is cheap has been checked
        try:
            return make_report(folder, evaluation, options.data_dir, options.images)
        except tf.errors.OpError as error:
            from cueco_tf.data.decoding import in_one_line

            raise UsageError(in_one_line(error)) from error


def _check_target(folder):
    """Raises RunError when the report's place is taken by something that is no report."""
    target = folder.path / "report"
    if target.exists() and not (target / "index.html").is_file():
        raise RunError(f"{target} exists and is no report. Move it out of the way.")


def make_report(folder, evaluation=None, data_dir=None, most_images=MOST_IMAGES):
    """Makes the report of a run and puts it in RUN/report, which the caller owns.

    Args:
        folder: `RunFolder`.
        evaluation: a dict of scores, or None to take those of the run's summary.
        data_dir: where TensorFlow Datasets keeps its sets, or None.
        most_images: integer >= 2, how many training images to look at, at most.

    Returns:
        The path of the page.

    Raises:
        RunError, DataError, CheckpointError, OSError: for what the user has to mend; an earlier
            report then stands as it was.
    """
    import numpy as np

    from cueco_tf import data
    from cueco_tf.running import loading as runs
    from pipelines.reporting import names, page, plots, style
    from pipelines.reporting.examine import examine
    from pipelines.reporting.thumbnails import SplitPictures

    run = runs.load_run(folder.path, weights_only=True)
    images = data.load_for(run.config, data_dir)
    chosen = np.random.default_rng(run.config.seed).permutation(len(images.train))[:most_images]
    chosen = np.sort(chosen)
    split = images.train.take(chosen)
    root, shorts = names.shorten(names.of_split(images.train, images.name, chosen))
    target = folder.path / "report"
    with new_folder(target) as partial:
        findings = examine(folder, run, split, shorts, images.class_names, evaluation)
        if images.scan is not None:
            findings = dataclasses.replace(findings, images=images.scan.lines())
        print("Drawing ...")
        figures = plots.draw(findings)
        for name, figure in figures.items():
            style.save_png(figure, partial / f"{name}.png")
        pictures, originals = SplitPictures(split), names.link_to(root, shorts, target)
        text = page.build(findings, figures, pictures, originals)
        (partial / "index.html").write_text(text, "utf-8")
    return Page(target / "index.html")


if __name__ == "__main__":
    sys.exit(main())
