"""Near-duplicates, leaks and outliers as files."""

import csv

import embedded_digits
import numpy as np
import pytest

from cueco_tf.clustering import limits
from cueco_tf.embedding.embeddings_file import read_file
from cueco_tf.evaluation import normalize
from pipelines import duplicates


def run(*arguments):
    return duplicates.main([str(argument) for argument in arguments])


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Two files: 300 digits with the copies of two of them and one odd image, and others of which
    three are nearly in the first."""
    folder = tmp_path_factory.mktemp("duplicates")
    content, _ = read_file(embedded_digits.make(folder))
    paths, x = content["paths"].tolist(), content["embeddings"]
    rng = np.random.default_rng(0)

    def again(rows):
        return normalize(x[rows] + 0.003 * rng.normal(size=(len(rows), 64)))

    odd = normalize(rng.normal(size=(1, 64)))
    own = np.concatenate([x[:250], again([7, 7, 30]), odd])
    named = [*paths[:250], "copy-7.png", "again-7.png", "copy-30.png", "odd.png"]
    one = embedded_digits.write(folder / "one.npz", named, own)
    other = np.concatenate([x[250:], again([3, 4, 5])])
    named = [*paths[250:], "leak-3.png", "leak-4.png", "leak-5.png"]
    two = embedded_digits.write(folder / "two.npz", named, other)
    return folder, paths, one, two


def test_groups_leaks_and_outliers_are_found(sets, capsys):
    folder, paths, one, two = sets
    assert run(one, two) == 0
    said = capsys.readouterr().out
    assert "2 groups of near-duplicates" in said and "3 of 254 images are too many" in said
    assert "3 images of" in said
    output = folder / "one-duplicates"
    rows = table(output / "duplicates.csv")
    groups = {}
    for row in rows:
        groups.setdefault(row["group"], []).append((row["path"], row["keep"]))
    assert groups == {
        "0": [(paths[7], "1"), ("copy-7.png", "0"), ("again-7.png", "0")],
        "1": [(paths[30], "1"), ("copy-30.png", "0")],
    }
    leaks = table(output / "leaks.csv")
    assert {(row["path"], row["nearest"]) for row in leaks} == {
        (f"leak-{i}.png", paths[i]) for i in (3, 4, 5)
    }
    similarities = [float(row["similarity"]) for row in leaks]
    assert similarities == sorted(similarities, reverse=True) and similarities[-1] > 0.99
    assert table(output / "outliers.csv")[0]["path"] == "odd.png"
    page = (output / "index.html").read_text()
    for said in ("copy-7.png", "leak-4.png", "odd.png", "Every pair was compared", "data:image"):
        assert said in page
    assert "src=x" not in page and "http" not in page.split("<body>")[1]


def test_parts_and_more_than_memory_holds_give_the_same(sets, tmp_path, monkeypatch, capsys):
    pytest.importorskip("faiss")
    _, _, one, two = sets
    parts = embedded_digits.write_parts(tmp_path / "parts", one)
    few, many_ = tmp_path / "few", tmp_path / "many"
    assert run(parts, two, "--output", few) == 0
    said = capsys.readouterr().out
    monkeypatch.setattr(limits, "MANY", 300)
    assert run(parts, two, "--output", many_) == 0
    assert capsys.readouterr().out == said.replace(str(few), str(many_))
    for name in ("duplicates.csv", "leaks.csv", "outliers.csv"):
        rows, peers = table(many_ / name), table(few / name)
        for row, peer in zip(rows, peers, strict=True):
            for column in {"similarity", "mean_similarity"} & row.keys():
                assert float(row.pop(column)) == pytest.approx(float(peer.pop(column)), abs=2e-6)
        assert rows == peers and rows
    page = (many_ / "index.html").read_text()
    assert "<dd>254</dd>" in page and "Every pair was compared" in page and "leak-4.png" in page
    assert {path.name for path in tmp_path.iterdir()} == {"parts", "few", "many"}
    monkeypatch.setattr(limits, "has_faiss", lambda: False)
    assert run(parts, two, "--output", tmp_path / "none") == 2
    assert "So many images, 307, need faiss: pip install" in capsys.readouterr().err


def test_a_threshold_is_obeyed_and_an_earlier_folder_kept(sets, capsys):
    folder, _, one, _ = sets
    output = folder / "none"
    assert run(one, "--threshold", 1, "--output", output) == 0
    assert table(output / "duplicates.csv") == [] and not (output / "leaks.csv").exists()
    assert "No two images" in (output / "index.html").read_text()
    capsys.readouterr()
    assert run(one, "--output", output) == 2
    assert "none exists. Choose another --output, or add --overwrite" in capsys.readouterr().err
    assert run(one, "--output", output, "--overwrite") == 0
    assert len(table(output / "duplicates.csv")) == 5


def test_wrong_input_gets_one_line(sets, tmp_path, capsys):
    _, paths, one, _ = sets
    x = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    other = embedded_digits.write(tmp_path / "other.npz", paths[:5], x, sha256="b" * 64)
    short = embedded_digits.write(tmp_path / "short.npz", paths[:5], x[:, :8])
    single = embedded_digits.write(tmp_path / "single.npz", paths[:1], x[:1])
    for arguments, message in (
        ((one, other), "are of different encoders"),
        ((one, short), "are of different encoders"),
        ((single,), "holds one image"),
        ((one, "--threshold", 3), "--threshold should be in [-1, 1]. Received: 3.0"),
        ((one, tmp_path / "no.npz"), "is not a file of embeddings"),
        ((tmp_path / "no.npz",), "is not a file of embeddings"),
    ):
        assert run(*arguments, "--output", tmp_path / "out") == 2
        printed = capsys.readouterr().err.strip().splitlines()
        assert len(printed) == 1 and message in printed[0], printed
    assert not (tmp_path / "out").exists()
