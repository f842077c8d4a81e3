"""`bench init --weights`: one's own photos at their own size, scored by a frozen network."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from command import run_bench
from own_pictures import pictures, save
from weight_files import save as save_weights
from weight_files import state

from benchmark import Detector
from benchmark.data import images
from benchmark.own.bring import bring
from benchmark.own.examine import Findings, examine
from benchmark.own.layout import layout
from benchmark.own.orientation import Upright
from benchmark.own.summary import larger
from benchmark.own.sweepfile import frozen_model, frozen_text, tried, write_sweep
from benchmark.plan import sweep, yamlfile

BY = ("--backbone", "resnet10t", "--pretraining", "self-supervised")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save_weights(tmp_path / "weights.safetensors", state("resnet10t", None, 1))


def test_photos_become_a_detector_in_three_commands(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "pets", pictures(40, size=80))  # the folder itself holds them
    given = ("--data", tmp_path / "data")
    said = run_bench(monkeypatch, capfd, "init", "pets", "--size", 64, "--weights", weights, *BY, *given)
    assert said.code == 0 and "your images have 80 pixels (the shorter side); stored at 64" in said.out
    assert "DINO, trained at 32 pixels" in said.out
    plan = sweep.load(Path("pets.yaml"))
    assert [one.short_name for one in plan.runs[:2]] == ["pets@64-frozen-s0", "pets@64-dino-s0"]
    config = plan.runs[0].config
    assert config.data.image_size == 64 and config.model.weights == str(weights) and config.model.pretraining
    trained = [one.config for one in plan.runs if one.config.method.name == "dino"]
    assert {(one.variant, one.seed) for one in trained} == {(v, s) for v in ("dino", "rot-in-dist") for s in range(3)}
    assert {(one.views.global_size, one.data.image_size, one.model.weights) for one in trained} == {(32, 64, None)}
    commands = [line.partition(": bench ")[2] for line in said.out.splitlines() if line.startswith(("Next:", "then:"))]
    said = run_bench(monkeypatch, capfd, *shlex.split(commands[0]), "--jobs", 1)
    assert said.code == 0, said.err
    assert [path.name.rpartition("-")[0] for path in Path("results").glob("pets*")] == ["pets@64-frozen-s0"]
    said = run_bench(monkeypatch, capfd, *shlex.split(commands[1]))
    assert said.code == 0 and "40 images, " in said.out, said.err
    detector = Detector.load("pets@64-frozen-s0-detector", "cpu")
    test = images.load(tmp_path / "data", "pets@64", "test").images
    np.testing.assert_allclose(np.sort(detector.score(test)), np.sort(detector.id_scores), rtol=1e-4)
    photos = sorted(Path("pets").iterdir())
    assert detector.explain(photos[0]).heat.ndim == 2
    # The page has the photos by the names of their files, the highest score first, none scored by its own copy.
    order = np.argsort(-detector.score(photos), kind="stable")
    shown = re.findall(r'data-path="([^"]+)"', Path("pets-worst.html").read_text())
    assert shown == [photos[place].name for place in order]


@pytest.mark.parametrize(("by", "warned"), [("order", True), ("name", False)])
def test_weights_by_order_that_fit_another_network_too_are_told(by: str, warned: bool, tmp_path: Path) -> None:
    names = ("mobilenetv3_small_100", "tf_mobilenetv3_small_100")
    file = save_weights(tmp_path / f"weights.{'pth' if by == 'order' else 'safetensors'}", state(names[0], None, 1))
    told = [tried(model, 64) for name in names if (model := frozen_model(file, name, "supervised", by))]
    assert (f"the same tensors fit {names[1]} too" in told[0]) is warned and told[1] == ""


def test_few_images_are_no_matter_to_a_frozen_network(tmp_path: Path) -> None:
    save(tmp_path / "pets", pictures(40, size=80))
    brought = bring(layout(tmp_path / "pets", "pets"), tmp_path / "data", 64)
    few = [[line for line in examine(brought, frozen=frozen).warnings if "few ID" in line] for frozen in (False, True)]
    assert len(few[0]) == 2 and few[1] == []
    assert "with so few images, use it instead" in larger(brought, tmp_path / "pets")[0]


def test_images_without_an_up_and_down_get_negatives_of_another_kind(tmp_path: Path, weights: Path) -> None:
    save(tmp_path / "pets", pictures(40, size=64))
    brought = bring(layout(tmp_path / "pets", "pets"), tmp_path / "data", 48)
    model = frozen_model(weights, "resnet10t", "supervised", "name")
    assert model is not None
    for share, kind, gpu in ((25, "perm-16-in-dist", False), (90, "rot-in-dist", True)):
        text = frozen_text(Path("a.yaml"), brought, Findings({}, Upright(share, 2, 40), []), model, gpu, None)
        first, second = yamlfile.parse(text, "text")["grids"]
        assert first["base"]["method"] == {"name": "frozen"} and second["grid"]["variant"] == ["dino", kind]
        assert second["base"]["views"]["global_size"] == (48 if gpu else 32)  # never more than is stored


def test_auxiliary_images_are_negatives_of_the_network_beside(tmp_path: Path, weights: Path) -> None:
    save(tmp_path / "pets/in", pictures(40, size=64))
    save(tmp_path / "pets/aux", pictures(30, seed=5, size=64))
    brought = bring(layout(tmp_path / "pets", "pets"), tmp_path / "data", 48)
    model = frozen_model(weights, "resnet10t", "supervised", "name")
    found, path = Findings({}, Upright(90, 2, 40), []), tmp_path / "a.yaml"
    write_sweep(path, brought, found, False, tmp_path / "data", frozen=model)
    trained = [one.config for one in sweep.load(path).runs if one.config.method.name == "dino"]
    assert {one.variant for one in trained} == {"dino", "rot-in-dist", "imgn"}
    [name] = {one.data.sources["imagenet"] for one in trained if one.variant == "imgn"}
    assert (tmp_path / "data" / name / "aux" / "images.npy").exists()


def test_large_photos_without_weights_are_told_what_would_be_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for size, name in ((96, "large"), (64, "small")):
        save(tmp_path / name, pictures(30, size=size))
        said = run_bench(monkeypatch, capfd, "init", name, "--data", tmp_path / "data")
        words = " ".join(said.out.split())
        assert said.code == 0 and ("a frozen network with weights" in words) == (name == "large")
        assert (f"bench init {name} --name {name}-large --weights FILE" in words) == (name == "large")
        cost = words[words.index("Cost: ") : words.index("train.epochs=N.")]
        assert " minutes in all on a core; less with --only" in cost
        assert cost in " ".join(Path(f"{name}.yaml").read_text().replace("#", " ").split())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--weights", "gone.pth", *BY], "gone.pth: no such file"),
        (["--weights", "weights.safetensors"], "--backbone NAME (timm's name of their network) and --pretraining"),
        (["--weights", "weights.safetensors", *BY[:3], "cats"], "--weights: pretraining"),
        (["--backbone", "resnet10t"], "are about --weights FILE, which is not given"),
        (["--weights", "weights.safetensors", "--backbone", "resnet18", *BY[2:]], "does not fit resnet18: "),
    ],
)
def test_weights_that_cannot_be_meant_are_one_line_before_anything_is_read(
    options: list[str], says: str, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets").mkdir()
    said = run_bench(monkeypatch, capfd, "init", "pets", "--data", tmp_path / "data", *options)
    assert said.code == 2 and said.err.count("\n") == 1 and says in said.err
    assert not (tmp_path / "data").exists() and not Path("pets.yaml").exists()
