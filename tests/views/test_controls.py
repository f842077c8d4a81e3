"""A set before other backgrounds, and what is not one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Said, run_bench
from PIL import Image

from benchmark.data.catalog import info, is_control, is_near
from benchmark.data.images import load, write_set
from benchmark.errors import BenchError
from benchmark.views import foregrounds, saliency
from benchmark.views.controls import write_other_backgrounds
from benchmark.views.foregrounds import fill_in
from benchmark.views.pictures import CELL, GAP, HEAD, grid

COUNT = 300  # more than are looked at together


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Squares of a level of their own on backgrounds of another, which tells the image."""
    levels = (np.arange(COUNT) % 100 + 20).astype(np.uint8)
    pictures = np.broadcast_to(levels[:, None, None, None], (COUNT, 32, 32, 3)).copy()
    pictures[:, 10:20, 8:22] = 250 - levels[:, None, None, None]
    pictures[:, :, :, 2] = np.arange(COUNT)[:, None, None] // 100 * 60  # blue: which hundred
    write_set(tmp_path, "squares", "test", pictures, np.arange(COUNT) % 3, "test", ["a", "b", "c"])
    return tmp_path


def test_every_image_has_its_foreground_before_the_background_of_another(data: Path) -> None:
    own = load(data, "squares", "test")
    made = write_other_backgrounds(data, "squares")
    assert (made.name, made.count, made.manifest["classes"]) == ("squares-other-backgrounds", COUNT, ["a", "b", "c"])
    assert np.array_equal(made.labels, own.labels) and own.fingerprint[:12] in made.manifest["recipe"]
    np.testing.assert_allclose(made.images[:, 14, 14].astype(int), own.images[:, 14, 14].astype(int), atol=1)

    def of(corner: np.ndarray) -> np.ndarray:
        return np.rint(corner[:, 0] - 20.0).astype(int) + 100 * np.rint(corner[:, 2] / 60.0).astype(int)

    behind = of(made.images[:, 2, 2])
    assert sorted(behind) == list(range(COUNT)) and (behind != np.arange(COUNT)).all()
    assert np.array_equal(of(own.images[:, 2, 2]), np.arange(COUNT))
    assert load(data, "squares-other-backgrounds:a", "test").count == COUNT // 3  # a class of it, as of its set
    again = write_other_backgrounds(data, "squares")
    assert again.fingerprint == made.fingerprint


def test_the_last_bits_of_a_machine_move_no_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(5)
    coarse = torch.randint(0, 256, (COUNT, 3, 8, 8), generator=draw).float()
    smooth = torch.nn.functional.interpolate(coarse, (33, 33), mode="bilinear").round().byte().permute(0, 2, 3, 1)
    write_set(tmp_path, "smooth", "test", smooth.numpy(), np.zeros(COUNT, np.int64), "test")
    halves = torch.full((1, 3, 33, 33), 100, dtype=torch.uint8)
    halves[..., 16:] = 101
    line = torch.zeros(1, 33, 33, dtype=torch.bool)
    line[..., 16] = True  # as far from either colour: exactly 100.5 behind it
    made = write_other_backgrounds(tmp_path, "smooth")

    def elsewhere(compute: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def noisy(*arguments: Any) -> torch.Tensor:
            exact = compute(*arguments)
            noise = torch.randn(exact.shape, generator=draw, dtype=exact.dtype)
            return exact * (1 + 500 * torch.finfo(exact.dtype).eps * noise)

        return noisy

    assert bool((fill_in(halves, line, torch.float64)[..., 16] == 101).all())
    for module, name in ((saliency, "lab"), (saliency, "_middle"), (foregrounds, "blur")):
        monkeypatch.setattr(module, name, elsewhere(getattr(module, name)))
    again = write_other_backgrounds(tmp_path, "smooth")
    assert again.fingerprint == made.fingerprint
    assert bool((fill_in(halves, line, torch.float64)[..., 16] == 101).all())


def test_the_command_and_what_it_refuses(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bench(*arguments: object) -> Said:
        return run_bench(monkeypatch, capsys, *arguments)

    done = bench("data", "backgrounds", "squares", "--data", data)
    assert done.code == 0 and f"squares-other-backgrounds/test: {COUNT} images, sha256 " in done.out
    for name, line in (
        ("nowhere", "image set nowhere/test is not in "),
        ("squares:a", "squares:a: backgrounds are changed of a whole set, as in cifar10; its classes follow"),
        ("squares-other-backgrounds", "squares-other-backgrounds: backgrounds are changed of a whole set"),
    ):
        refused = bench("data", "backgrounds", name, "--data", data)
        assert refused.code == 2 and line in refused.err and "Traceback" not in refused.err
    pictures = load(data, "squares", "test").images
    write_set(data, "squares", "test", pictures[:40], np.arange(40) % 3, "test", ["a", "b", "c"], replace=True)
    with pytest.raises(BenchError, match="holds other images"):
        write_other_backgrounds(data, "squares")
    assert write_other_backgrounds(data, "squares", replace=True).count == 40
    write_set(data, "one", "test", pictures[:1], np.zeros(1, np.int64), "test")
    with pytest.raises(BenchError, match="one/test: has one image alone"):
        write_other_backgrounds(data, "one")


def test_which_sets_are_controls() -> None:
    assert is_control("cifar10", "cifar10-other-backgrounds")
    assert is_control("cifar10:bird", "cifar10-other-backgrounds:bird")
    assert not is_control("cifar100", "cifar10-other-backgrounds") and not is_control("cifar10", "cifar100")
    assert not is_near("cifar10", "cifar10-other-backgrounds")
    assert info("cifar10-other-backgrounds").title == "CIFAR10 before other backgrounds"
    assert info("cifar10-other-backgrounds").how_to_get == "bench data backgrounds cifar10"


def test_a_picture_of_masks_and_what_is_made_of_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "masks.png"
    said = run_bench(
        monkeypatch, capsys, "data", "masks", "squares", out, "--split", "test", "--count", 3, "--data", data
    )
    assert said.code == 0 and said.out == f"written: {out}\n"
    sheet = np.asarray(Image.open(out).convert("RGB")).astype(int)
    step = CELL + GAP
    assert sheet.shape == (HEAD + 3 * step, 6 * step + GAP, 3)  # the image, its foreground, four compositions

    def at(row: int, column: int, y: int, x: int) -> np.ndarray:
        """A pixel of the 32 x 32 picture in this place."""
        return sheet[HEAD + row * step + y * 3 + 1, GAP + column * step + x * 3 + 1]

    inside, outside = (14, 14), (2, 2)
    for row, following in ((0, 1), (1, 2), (2, 0)):
        own, ground = at(row, 0, *inside), at(row, 0, *outside)
        assert (at(row, 1, *inside) == own).all()  # foreground as it is, the rest shaded
        assert (at(row, 1, *outside) == ground // 3 + np.array([170, 0, 133])).all()
        grey, random, alone, swapped = 2, 3, 4, 5
        assert abs(at(row, grey, *inside) - own).max() <= 1 and (at(row, grey, *outside) == 128).all()
        assert abs(at(row, random, *inside) - own).max() <= 1
        assert abs(at(row, random, *outside) - at(following, 0, *outside)).max() <= 1
        assert abs(at(row, alone, *inside) - ground).max() <= 3 and (at(row, alone, *outside) == ground).all()
        assert abs(at(row, swapped, *inside) - at(following, 0, *inside)).max() <= 1
        assert abs(at(row, swapped, *outside) - ground).max() <= 1
    for arguments, line in (
        (("squares", "masks.jpg"), "masks.jpg: pictures are written as PNG"),
        (("squares:a", out, "--split", "train"), "image set squares/train is not in"),
    ):
        refused = run_bench(monkeypatch, capsys, "data", "masks", *arguments, "--data", data)
        assert refused.code == 2 and line in refused.err


@pytest.mark.parametrize(("side", "by"), [(CELL, "NEAREST"), (32, "NEAREST"), (224, "BICUBIC")])
def test_photos_are_smoothed_where_they_shrink(side: int, by: str) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    sheet = grid({"one": torch.from_numpy(photo).permute(2, 0, 1)[None]})
    expected = Image.fromarray(photo).resize((CELL, CELL), Image.Resampling[by])
    assert np.array_equal(np.asarray(sheet)[HEAD : HEAD + CELL, GAP : GAP + CELL], np.asarray(expected))


def test_a_sweep_that_lacks_it_is_told_how_to_make_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "mine.yaml"
    for name, code, line in (
        ("cifar10", 1, "cifar10-other-backgrounds/test: bench data backgrounds cifar10"),
        ("cifar11", 2, "mine.yaml: eval.ood: unknown image set 'cifar11-other-backgrounds'"),
    ):
        sweep.write_text(f"base: {{in_dist: synthetic, variant: dino, eval: {{ood: [{name}-other-backgrounds]}}}}\n")
        said = run_bench(monkeypatch, capsys, "data", "prepare", "--for", sweep, "--data", data)
        assert said.code == code and line in " ".join((said.out + said.err).split())
