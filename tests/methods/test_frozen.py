"""A frozen backbone: what it answers, what its record says, and features that ten protocols share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from tiny_runs import TINY
from view_references import exact_resize
from weight_files import ARGS, INPUT, VIT, model_section, save, state, tiny_vit

from benchmark import methods
from benchmark.data.images import load, write_set
from benchmark.detector.detector import Detector
from benchmark.detector.export import export
from benchmark.evaluation.verify import verify
from benchmark.files import read_npz
from benchmark.models import backbones
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.running.status import Reporter
from benchmark.store.folders import RunFolder, all_runs
from benchmark.store.records import Record

RUNTIME = Runtime(device="cpu", threads=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save(tmp_path / "weights.pth", tiny_vit(size=48))


def frozen(file: Path, model: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    raw = {**TINY, "variant": "none", "method": {"name": "frozen"}, "views": {"global_size": 48}, **changes}
    config: RunConfig = validate(RunConfig, raw | {"model": model_section(file, **(model or {}))}, "test")
    return config


def done(config: RunConfig, results: Path, data: Path) -> tuple[Record, RunFolder]:
    record = run(config, results, data, RUNTIME)
    assert record is not None
    return record, RunFolder(results / record.name)


def test_batch_normalisation_has_the_statistics_of_the_weights(tmp_path: Path) -> None:
    """What else is in the batch changes no image's features, and seeing images changes no statistics."""
    args = {"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1]}
    weights = state("resnet10t", None, 1, **args)
    raw = {"backbone": "resnet10t", "args": args}
    method = methods.build(frozen(save(tmp_path / "resnet.pth", weights), raw), torch.device("cpu"))
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together, alone = method.embed(images)["features"], method.embed(images[:1])["features"]
    assert torch.allclose(together[:1], alone, atol=1e-5)
    backbone = method.scoring_backbone()
    assert backbone is not None and "bn1.running_mean" in weights
    assert all(torch.equal(rows, weights[name]) for name, rows in backbone.state_dict().items())


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_features_are_timms_of_pillows_images(
    interpolation: str, file: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against Pillow's resizing, the normalisation written out, and timm's own model with the weights."""
    config = frozen(file, {"interpolation": interpolation})
    images = torch.from_numpy(np.array(load(mini_data, "mini", "test").images[:6])).permute(0, 3, 1, 2)
    seen = torch.stack([exact_resize(one, 48, Image.Resampling[interpolation.upper()]) for one in images])
    mean, std = (torch.tensor(INPUT[key])[:, None, None] for key in ("mean", "std"))
    network = timm.create_model(VIT, num_classes=0, img_size=48, **ARGS).eval()
    network.load_state_dict(tiny_vit(size=48))
    method = methods.build(config, torch.device("cpu"))
    with torch.no_grad():
        expected = network((seen - mean) / std)
        found = method.embed(images)["features"]
        monkeypatch.setattr(backbones, "PIXELS", 48**2)  # an image for each thread
        assert (
            backbones.at_once(48, torch.device("cpu")) == torch.get_num_threads() < 6
            and backbones.at_once(48, torch.device("cuda")) > 10**6
        )
        apart = method.embed(images)["features"]
    assert float(expected.std(0).min()) > 1e-3
    assert torch.allclose(found, expected, atol=1e-4) and torch.allclose(apart, expected, atol=1e-4)


def test_a_run_trains_nothing_and_says_what_to_beware_of(file: Path, tmp_path: Path, mini_data: Path) -> None:
    scores = ["knn-2", "cosine", "mahalanobis", "negative-norm", "eq6-rotations", "eq6-permutations", "eq6+knn-2"]
    config = frozen(file, eval={"ood": ["mini-ood"], "knn": [5], "scores": scores})
    record, folder = done(config, tmp_path / "r", mini_data)
    assert list(record.scores) == ["eq6", *scores] and record.training == {}
    assert not folder.weights.exists() and folder.name.startswith("mini-frozen-s0-")
    assert "features_from" not in record.environment
    assert config.recipe_id() == record.recipe_id and record.config["model"]["weights_sha256"]
    file.unlink()  # what is kept is enough to hold the record against
    (verdict,) = verify([folder], mini_data)
    assert verdict.problems == [] and verdict.rescored == 8 * (40 + 24 + 20)


def test_what_it_says_in_its_log(
    file: Path, tmp_path: Path, mini_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done(frozen(file), tmp_path / "r", mini_data)
    said = capsys.readouterr().out
    assert "note: Which in-distribution and OOD classes the weights have seen is not known" in said
    assert "note: Images of 32 pixels are enlarged to 48" in said


def test_it_tells_how_many_images_have_their_features(
    file: Path, tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(Reporter, "extracted", lambda self, done, images: told.append((done, images)))
    monkeypatch.setattr("benchmark.evaluation.features.EMBED_BATCH", 10)
    _, folder = done(config := frozen(file), tmp_path / "r", mini_data)
    counts = [len(read_npz(folder.features)[key]) for key in config.scored_keys()]
    parts = [min(10, count - start) for count in counts for start in range(0, count, 10)]
    assert told == [(int(seen), sum(counts)) for seen in np.cumsum(parts)]
    more = frozen(file, eval={"ood": ["mini-ood", "mini-ood2"]})  # what is kept is not asked about again
    told.clear()
    _, folder = done(more, tmp_path / "r", mini_data)
    new = len(read_npz(folder.features)["mini-ood2/test"])
    assert told == [(min(10 * part, new), new) for part in range(1, -(-new // 10) + 1)]


def test_its_detector_sees_images_as_the_run_did(file: Path, tmp_path: Path, mini_data: Path) -> None:
    _, folder = done(frozen(file, {"interpolation": "bilinear"}), tmp_path / "r", mini_data)
    settings = export(folder, tmp_path / "d", mini_data)
    assert settings.checked.startswith("features of 24 ID test images as the run's, to within 0")
    file.unlink()
    card = (tmp_path / "d/README.md").read_text()
    mean, std = (", ".join(map(str, numbers)) for numbers in (settings.mean or [], settings.std or []))
    for piece in (
        f"the mean ({mean}) is subtracted", f"deviation ({std}).", "32x32,\nand the bilinear one to 48x48",
        "Method: frozen.\nTraining data: ", "weights trained elsewhere", "- Images of 32 pixels are enlarged to 48",
    ):  # fmt: skip
        assert piece in card, piece
    assert "labels: method" not in card and len(mean) > 8 and mean != std
    images = np.array(load(mini_data, "mini", "test").images)
    again = Detector.load(tmp_path / "d", "cpu").score(images)
    assert again == pytest.approx(read_npz(folder.scores)["mini/test:eq6"], abs=0.1)


# One extraction, many protocols -------------------------------------------------------------------------------------


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A set of four classes and an OOD set that repeats some of its test images."""
    rng, root = np.random.default_rng(1), tmp_path / "data"
    for split, count in (("train", 40), ("test", 24)):
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        write_set(root, "four", split, images, np.arange(count) % 4, recipe="", classes=["a", "b", "c", "d"])
    write_set(root, "far", "test", rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8), np.zeros(9, int), recipe="")
    return root


def of_class(file: Path, name: str, **more: Any) -> RunConfig:
    section = {key: more.pop(key) for key in ("interpolation",) if key in more}
    raw = {"in_dist": name, "eval": {"ood": ["other-classes"], "knn": [3], "scores": ["negative-norm"]}}
    return frozen(file, section, **{**raw, **more})


class Counting:
    """How many images went through networks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images, plain = 0, backbones.build_backbone

        def counted(*given: Any) -> Any:
            network, width = plain(*given)
            network.register_forward_hook(lambda _, images, __: setattr(self, "images", self.images + len(images[0])))
            return network, width

        monkeypatch.setattr("benchmark.methods.frozen.build_backbone", counted)


def test_classes_take_the_whole_sets_features_and_score_the_same(
    file: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = frozen(file, in_dist="four", eval={"ood": ["far"], "knn": [3], "scores": ["negative-norm"]})
    first, _ = done(whole, tmp_path / "r", labelled)
    counting = Counting(monkeypatch)
    for name in "abcd":
        config = of_class(file, f"four:{name}")
        record, folder = done(config, tmp_path / "r", labelled)
        assert record.environment["features_from"] == [first.name]
        assert counting.images == 0
        further = config.model_copy(
            update={"eval": config.eval.model_copy(update={"scores": ["negative-norm", "cosine"]})}
        )
        record, folder = done(further, tmp_path / "r", labelled)
        assert record.environment["features_from"] == [first.name] and counting.images == 0
        alone, apart = done(config, tmp_path / f"alone-{name}", labelled)
        assert counting.images == 24 + 10 and "features_from" not in alone.environment
        counting.images = 0
        for key, rows in read_npz(apart.features).items():  # other batches, and so other roundings of float32
            assert np.allclose(read_npz(folder.features)[key], rows, atol=2e-3, rtol=1e-3), key
        assert record.own_score.sensitivity == pytest.approx(alone.own_score.sensitivity, abs=2.0)


def test_only_what_the_same_network_has_seen_is_taken(
    file: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class after class: the test images are known, the training images of the next class are not."""
    first, _ = done(of_class(file, "four:a"), tmp_path / "r", labelled)
    counting = Counting(monkeypatch)
    record, _ = done(of_class(file, "four:b"), tmp_path / "r", labelled)
    assert counting.images == 10 and record.environment["features_from"] == [first.name]
    more = {"ood": ["other-classes", "far"], "knn": [3], "scores": ["negative-norm"]}
    other, _ = done(of_class(file, "four:c", eval=more), tmp_path / "r", labelled)
    again, _ = done(of_class(file, "four:b", eval=more), tmp_path / "r", labelled)
    assert again.name == record.name and again.environment["features_from"] == [first.name, other.name]
    others = {
        "weights": of_class(save(tmp_path / "w2.pth", tiny_vit(size=48, seed=5)), "four:b"),
        "filter": of_class(file, "four:b", interpolation="bilinear"),
        "size": of_class(file, "four:b", views={"global_size": 40}),
        "score": of_class(file, "four:b", eval={"ood": ["other-classes"], "knn": [3], "scores": ["eq6-rotations"]}),
    }
    for what, config in others.items():
        counting.images = 0
        results = tmp_path / "r"
        if what == "score":  # the run itself is there; what it lacks no other has kept
            results = tmp_path / "r2"
            done(of_class(file, "four:a"), results, labelled)
            counting.images = 0
        record, _ = done(config, results, labelled)
        assert counting.images >= 34 and "features_from" not in record.environment, what


def test_changed_images_broken_files_and_other_code_are_not_taken(
    file: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "r"
    done(of_class(file, "four:a"), results, labelled)
    (first,) = all_runs(results)
    kept = first.features.read_bytes()
    first.features.write_bytes(kept[:100])
    assert "features_from" not in done(of_class(file, "four:b"), results, labelled)[0].environment
    first.features.write_bytes(kept)
    (results / all_runs(results)[1].name / "features.npz").unlink()
    record = first.read_record()
    assert record is not None
    first.write_record(record.model_copy(update={"environment": {**record.environment, "code": "other"}}))
    assert "features_from" not in done(of_class(file, "four:c"), results, labelled)[0].environment
    images = np.array(load(labelled, "four", "test").images)
    images[3] += 1  # of class d
    write_set(
        labelled, "four", "test", images, np.arange(24) % 4, recipe="", classes=["a", "b", "c", "d"], replace=True
    )
    counting = Counting(monkeypatch)
    done(of_class(file, "four:d"), results, labelled)
    assert counting.images == 34


def test_untrained_rows_share_too_and_trained_ones_do_not(
    file: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(monkeypatch)
    rows = [of_class(file, f"four:{name}").reference("untrained") for name in "ab"]
    done(rows[0], tmp_path / "r", labelled)
    counting.images = 0
    record, _ = done(rows[1], tmp_path / "r", labelled)
    assert counting.images == 10 and record.environment["features_from"]
    statistics = [of_class(file, f"four:{name}").reference("image-statistics") for name in "ab"]
    for row in statistics:
        record, _ = done(row, tmp_path / "r", labelled)
        assert "features_from" not in record.environment
