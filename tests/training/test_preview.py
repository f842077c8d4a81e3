"""The picture of a sweep's negatives: every kind once, each column what its title says, nothing trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import run_bench
from PIL import Image
from tiny_runs import TINY, tiny
from torch import Tensor

from benchmark.data.images import load, write_set
from benchmark.errors import BenchError
from benchmark.plan import yamlfile
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate
from benchmark.training import preview as module
from benchmark.training.preview import preview
from benchmark.views.pictures import CELL, GAP, HEAD
from benchmark.views.recipes import PLUS_MINUS_ONE, BatchRecipe, Block, ViewRecipe, ViewSpec


def columns(
    monkeypatch: pytest.MonkeyPatch, configs: list[RunConfig], data: Path, count: int = 6, as_seen: bool = False
) -> dict[str, Tensor]:
    """What is drawn, by title."""
    drawn: list[dict[str, Tensor]] = []
    monkeypatch.setattr(module, "grid", drawn.append)
    preview(configs, data, count, as_seen)
    return {title.replace("\n", " "): pictures for title, pictures in drawn[0].items()}


def rows_of(data: Path, name: str, split: str) -> dict[bytes, int]:
    return {image.tobytes(): row for row, image in enumerate(np.array(load(data, name, split).images))}


def as_images(pictures: Tensor) -> np.ndarray:
    assert pictures.dtype == torch.uint8
    return np.ascontiguousarray(pictures.permute(0, 2, 3, 1).numpy())


def test_every_kind_stands_there_once_and_whole(monkeypatch: pytest.MonkeyPatch, mini_data: Path) -> None:
    variants = ["dino", "imgn", "combined", "rot-in-dist", "perm-4-imgn", "background-in-dist"]
    found = columns(monkeypatch, [tiny(variant=name) for name in variants], mini_data)
    assert list(found) == [
        "image", "view, 32 px", "view, 16 px", "ImgN", "Rot. ImgN", "Rot. In-Dist.", "Perm-4 ImgN",
        "Backgr. In-Dist. (ours)",
    ]  # fmt: skip
    assert {len(pictures) for pictures in found.values()} == {6}
    train, aux = rows_of(mini_data, "mini", "train"), rows_of(mini_data, "mini-aux", "aux")
    assert len({train[image.tobytes()] for image in as_images(found["image"])}) == 6
    assert len({aux[image.tobytes()] for image in as_images(found["ImgN"])}) == 6
    for title, known in (("Rot. ImgN", aux), ("Rot. In-Dist.", train)):
        for image in as_images(found[title]):
            turned = [np.ascontiguousarray(np.rot90(image, turn)).tobytes() in known for turn in range(4)]
            assert turned[0] is False and sum(turned) == 1, title
    shuffled = as_images(found["Perm-4 ImgN"])
    assert sum(image.tobytes() in aux for image in shuffled) < 3  # of 24 orders one is none
    for image in shuffled:
        assert any(sorted(image.ravel()) == sorted(np.frombuffer(one, np.uint8)) for one in aux)


def test_the_views_are_of_the_images_beside_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    levels = np.arange(40, dtype=np.uint8) * 6
    pictures = np.broadcast_to(levels[:, None, None, None], (40, 32, 32, 3)).copy()
    write_set(tmp_path, "mini", "train", pictures, np.zeros(40, np.int64), recipe="greys")
    config = tiny(variant="rot-in-dist", train={"batch": 30})
    still = {"blur_p": 0, "solarize_p": 0, "jitter_p": 0, "grayscale_p": 0}
    plain = ViewRecipe(32, (0.4, 1.0), **still)  # type: ignore[arg-type]
    blocks = {"globals": Block((ViewSpec((plain,)),)), "locals": Block((ViewSpec((plain,), 0),))}
    monkeypatch.setattr(
        "benchmark.methods.dino.Dino.batch_recipe",
        lambda self: BatchRecipe(blocks, {"globals": blocks["globals"]}),
    )
    found = columns(monkeypatch, [config], tmp_path)
    assert list(found) == ["image", "view, 32 px", "Rot. In-Dist."]  # no view, no column
    assert (found["view, 32 px"] == found["image"]).all()  # crops of one level
    seen = columns(monkeypatch, [config], tmp_path, as_seen=True)
    assert (seen["Rot. In-Dist."] == found["Rot. In-Dist."]).all()
    assert len(found["image"].unique()) == 6


def test_as_seen_negatives_are_views(monkeypatch: pytest.MonkeyPatch, mini_data: Path) -> None:
    whole = columns(monkeypatch, [tiny()], mini_data)
    seen = columns(monkeypatch, [tiny()], mini_data, as_seen=True)
    assert list(whole) == list(seen)
    for title in whole:
        assert torch.equal(whole[title], seen[title]) == (title in ("image", "view, 32 px", "view, 16 px")), title


def test_a_normalisation_is_taken_back() -> None:
    recipe = ViewRecipe(32, (1, 1), blur_p=0, solarize_p=0, normalisation=PLUS_MINUS_ONE)
    block = Block((ViewSpec((recipe,), 2),))
    levels = torch.tensor([0, 1, 127, 200, 255, 3], dtype=torch.uint8)
    views = (levels / 255 * 2 - 1)[:, None, None, None].expand(6, 3, 32, 32)
    ((size, pictures),) = module._shown({"globals": block}, {"globals": views}, 3)
    assert size == "32 px" and pictures[:, 0, 0, 0].tolist() == [0, 1, 127]


def test_two_kinds_of_one_name_are_two_columns(monkeypatch: pytest.MonkeyPatch, mini_data: Path) -> None:
    both = [tiny(variant="rot360-imgn", negatives={"rot360": how}) for how in ("right-angles", "any-angle")]
    assert list(columns(monkeypatch, both, mini_data))[3:] == ["Rot.360 ImgN", "Rot.360 ImgN (2)"]
    alike = [tiny(variant="rot-imgn", negatives={"rot360": how}) for how in ("right-angles", "any-angle")]
    made = []
    batches = module._batches
    monkeypatch.setattr(module, "_batches", lambda config, *rest: made.append(config) or batches(config, *rest))
    assert list(columns(monkeypatch, alike, mini_data))[3:] == ["Rot. ImgN"]
    assert made == alike[:1]  # no network is built for what is drawn already


def test_other_sets_have_a_picture_of_their_own(monkeypatch: pytest.MonkeyPatch, mini_data: Path) -> None:
    both = [tiny(variant="dino", in_dist="mini:0"), tiny(variant="rot-in-dist", in_dist="mini:1")]
    assert list(columns(monkeypatch, both, mini_data)) == ["image", "view, 32 px", "view, 16 px"]


def test_what_cannot_be_shown_is_said(mini_data: Path) -> None:
    untrained: RunConfig = validate(RunConfig, {**TINY, "variant": "none", "method": {"name": "untrained"}}, "t")
    with pytest.raises(BenchError, match="no run of the sweep trains"):
        preview([untrained], mini_data, 4)
    with pytest.raises(BenchError, match="50 is more than the 40 training images of mini"):
        preview([tiny()], mini_data, 50)
    with pytest.raises(BenchError, match=r"mini/train: its images are 32x32, data\.image_size is 64"):
        preview([tiny(data={"image_size": 64})], mini_data, 4)


def sweep_file(folder: Path, **changes: Any) -> Path:
    file = folder / "mine.yaml"
    base = {key: value for key, value in TINY.items() if key not in changes}
    file.write_text(yamlfile.write({"base": base, "grid": changes}))
    return file


def test_the_command(
    tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = sweep_file(tmp_path, variant=["imgn", "rot-in-dist"]), tmp_path / "shown.png"

    def bench(*words: object) -> Any:
        return run_bench(monkeypatch, capsys, "preview", file, *words, "--data", mini_data)

    said = bench(out, "--count", 3)
    assert (said.code, said.out) == (0, f"written: {out}, of mini\n")
    assert Image.open(out).size == (5 * (CELL + GAP) + GAP, HEAD + 3 * (CELL + GAP))
    before = out.read_bytes()
    assert bench(out, "--count", 3, "--views").code == 0 and out.read_bytes() != before
    assert bench(out, "--only", "*imgn*").code == 0
    assert Image.open(out).size == (4 * (CELL + GAP) + GAP, HEAD + 8 * (CELL + GAP))
    for words, line in (
        ((tmp_path / "shown.jpg",), "shown.jpg: pictures are written as PNG; end its name in .png"),
        ((out, "--set", "in_dist=cifar100"), "image set cifar100/train is not in"),
    ):
        refused = bench(*words)
        assert refused.code == 2 and line in refused.err, refused.err


def test_of_several_sets_the_first_is_shown(
    tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sweep_file(tmp_path, variant=["rot-in-dist"], in_dist=["mini:0", "mini:1"])
    out = tmp_path / "a.png"
    said = run_bench(monkeypatch, capsys, "preview", file, out, "--count", 2, "--data", mini_data)
    assert (said.code, said.out) == (0, f"written: {out}, of mini:0; --only shows mini:1\n"), said
