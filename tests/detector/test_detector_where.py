"""`Detector.explain` and the maps of `bench score --page`: where an image is unlike the training images."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from command import Said
from detector_runs import Made
from PIL import Image
from weight_files import FOCUS, LITE0, focus_backbone, focus_graph, model, needs_focus, needs_lite0, save

from benchmark import Detector
from benchmark.data.images import load
from benchmark.data.synthetic import generate
from benchmark.detector import artifact, patches
from benchmark.detector.export import export
from benchmark.detector.sources import Source
from benchmark.detector.worst import _thumbnail
from benchmark.errors import BenchError
from benchmark.models.backbones import build_backbone
from benchmark.models.spatial import spatial_features
from benchmark.plan.sections import ModelConfig

EXPORTED = Path(__file__).parent / "exported_by_0_1"


def of(model: ModelConfig, size: int) -> Detector:
    """A detector that sees images of `size` pixels by this backbone; its bank is of no account here."""
    network, width = build_backbone(model, size, size, 0.0)
    backbone = model.model_copy(update={"weights": None})
    seen = {"mean": model.mean, "std": model.std, "interpolation": model.interpolation}
    settings = artifact.read_settings(EXPORTED).model_copy(
        update={"backbone": backbone, "image_size": size, "view_size": size, "head": None, "score": "eq6", **seen}
    )
    blank = torch.zeros(3, dtype=torch.int64)
    bank = {"features": torch.ones(3, width), "id_scores": torch.zeros(3), "index": blank, "label": blank}
    return Detector(settings, network, bank)


def with_patches(detector: Detector, folder: Path, train: np.ndarray, test: np.ndarray, count: int) -> Detector:
    settings = patches.add(detector, detector.settings, folder, train, test, count)
    detector.settings = settings
    detector.patches = safetensors.torch.load_file(folder / artifact.PATCHES)["patches"].float()
    return detector


def objects_found(model: ModelConfig, folder: Path, count: int, into: str, pasted: str) -> tuple[int, int]:
    """Of how many crops of one photograph (scikit-learn's) at 224 pixels the map's peak lies in the object of 64 pixels
    that is pasted into each; and of how many the map is higher in the object than elsewhere, as means. Objects: drawn
    here, handwritten digits, or cut from another photograph."""
    from sklearn.datasets import load_digits, load_sample_image

    rng = np.random.default_rng(0)

    def crops(photo: np.ndarray, count: int, side: int = 224) -> np.ndarray:
        places = [(rng.integers(photo.shape[0] - side), rng.integers(photo.shape[1] - side)) for _ in range(count)]
        return np.stack([photo[y : y + side, x : x + side] for y, x in places])

    photo = load_sample_image(into)
    if pasted == "drawn":
        objects = generate("synthetic-near", "test")[0]
    elif pasted == "digits":
        objects = np.repeat((load_digits().images * 15).astype(np.uint8)[..., None], 3, 3)
    else:
        objects = crops(load_sample_image(pasted), count, 64)
    test = crops(photo, count)
    detector = with_patches(of(model, 224), folder, crops(photo, count), crops(photo, 10), 2000)
    inside = higher = 0
    for i, image in enumerate(test):
        y, x = rng.integers(224 - 64, size=2)
        image[y : y + 64, x : x + 64] = np.asarray(Image.fromarray(objects[i]).resize((64, 64)))
        found = detector.explain(Image.fromarray(image))
        inside += bool(x <= found.peak[0] < x + 64 and y <= found.peak[1] < y + 64)
        rows, columns = (np.arange(side) * 224 / side + 112 / side for side in found.heat.shape)
        covered = np.outer((rows >= y) & (rows < y + 64), (columns >= x) & (columns < x + 64))
        higher += bool(found.heat[covered].mean() > found.heat[~covered].mean())
    print(f"of {len(test)} maps {inside} have their peak in the object, {higher} are higher in it than elsewhere")
    return inside, higher


@needs_lite0
@pytest.mark.parametrize(
    ("into", "pasted"),
    [("china.jpg", "drawn"), ("flower.jpg", "drawn"), ("china.jpg", "digits"), ("china.jpg", "flower.jpg"),
     ("flower.jpg", "china.jpg")],
)  # fmt: skip
def test_the_peak_lies_in_an_object_pasted_into_a_photograph(into: str, pasted: str, tmp_path: Path) -> None:
    lite0 = ModelConfig.model_validate(
        {"backbone": "tf_efficientnet_lite0", "weights": LITE0, "weights_by": "order", "pretraining": "supervised"}
        | {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    )
    inside, higher = objects_found(lite0, tmp_path, 40, into, pasted)
    assert inside >= 0.9 * 40 and higher >= 39


@needs_focus
def test_the_map_of_a_real_vit_is_higher_in_the_object(tmp_path: Path) -> None:
    """Places are patch tokens here, 16 x 16 of 14 pixels. Its peaks are often elsewhere (in the object in 9 of 20; by
    chance in 2), since its last tokens know of the whole image too."""
    file = save(tmp_path / "focus.safetensors", focus_backbone(focus_graph()))
    imagenet = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    inside, higher = objects_found(model(file, FOCUS, **imagenet), tmp_path, 20, "china.jpg", "drawn")
    assert inside >= 6 and higher >= 18


@pytest.mark.parametrize(
    ("backbone", "args", "grid"),
    [
        ("small_convnet", {"width": 8}, 16),
        ("wide_resnet40_2", {}, 16),
        ("resnet10t", {"channels": [8, 16, 32, 64]}, 16),
        ("vit_tiny_patch16_224", {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}, 8),
    ],
)
def test_the_map_of_every_family_is_where_the_pixels_are(
    backbone: str, args: dict[str, object], grid: int, tmp_path: Path
) -> None:
    """A square of noise in a plain image, of random weights: high up on the right is high up on the right."""
    torch.manual_seed(0)
    detector = of(ModelConfig.model_validate({"backbone": backbone, "args": args, "drop_path": 0.0}), 64)
    plain = np.full((20, 64, 64, 3), 120, np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None, None]
    with_patches(detector, tmp_path, plain, plain[:4], 200)
    image = np.concatenate([plain[0], plain[0]], 1)  # 128 wide: the square that is seen is the middle
    image[4:24, 70:90] = np.random.default_rng(0).integers(0, 256, (20, 20, 3))
    found = detector.explain(Image.fromarray(image))
    assert found.heat.shape == (grid, grid) and found.heat.dtype == np.float32 and found.box == (32, 0, 64)
    assert 64 <= found.peak[0] < 96 and 0 <= found.peak[1] < 40  # of 128 x 64: the square and what sees it
    assert found.heat.max() > found.unusual >= found.usual


def test_a_transformers_places_are_its_own_patch_tokens_without_the_class_token() -> None:
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=1, num_classes=0).eval()
    views = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens = network.forward_features(views)
        found = spatial_features(network, views)
    assert torch.equal(found[:, 1, 2], tokens[:, 1 + 4 + 2])  # row 1, column 2 of 4 x 4


def test_places_of_convolutions_are_two_maps_of_timm_on_the_finer_grid_each_of_unit_length() -> None:
    """The finer map's own places, behind them the deeper's at the same place; means over 3 x 3 that are in the map."""
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", channels=[8, 16, 32, 64], num_classes=0).eval()
    views = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = {each.shape[2]: each[0].double().numpy() for each in network.forward_intermediates(views)[1]}
        found = spatial_features(network, views)[0].double().numpy()
        deepest = spatial_features(network, views, maps=1)[0].double().numpy()
    assert sorted(maps) == [2, 4, 8, 16, 32] and found.shape[:2] == (16, 16) and deepest.shape[:2] == (8, 8)

    def mean(side: int, row: int, column: int) -> np.ndarray:
        window = maps[side][:, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        return window.mean((1, 2))

    def unit(feature: np.ndarray) -> np.ndarray:
        return feature / np.linalg.norm(feature)

    finer, width = unit(mean(16, 5, 15)), len(maps[16])
    np.testing.assert_allclose(found[5, 15, :width], finer, atol=1e-6)
    # Between the 8 x 8: row 5 is a quarter of the way from row 2 to row 3; column 15 is at the border.
    deeper = unit(0.75 * mean(8, 2, 7) + 0.25 * mean(8, 3, 7))
    np.testing.assert_allclose(found[5, 15, width:], deeper, atol=1e-6)
    np.testing.assert_allclose(deepest[2, 7], unit(mean(8, 2, 7)), atol=1e-6)


def test_a_detector_of_before_keeps_its_one_map(copy: Path) -> None:
    settings = json.loads((copy / "detector.json").read_text())
    assert settings["patches"].pop("maps") == 2
    (copy / "detector.json").write_text(json.dumps(settings))
    patches_info = Detector.load(copy, "cpu").settings.patches
    assert patches_info is not None and patches_info.maps == 1


def test_a_distance_is_one_less_the_largest_cosine(made: Made) -> None:
    detector = Detector.load(made.whole, "cpu")
    images = load(made.data, "mini-ood", "test").images[:3]
    rows = torch.cat(list(patches.patches_of(detector, images))).double().numpy()
    assert detector.patches is not None
    bank = detector.patches.double().numpy()
    expected = 1 - (rows.reshape(-1, bank.shape[1]) @ bank.T).max(1).reshape(rows.shape[:3])
    np.testing.assert_allclose(patches.distances(detector, images, detector.patches).numpy(), expected, atol=1e-5)
    inside = patches.distances(detector, load(made.data, "mini", "test").images, detector.patches)
    info = detector.settings.patches
    assert info is not None and (info.count, info.of, info.images, info.grid) == (640, 640, 40, [4, 4])
    assert info.usual == pytest.approx(float(np.median(inside)), rel=0.02)
    assert info.unusual == pytest.approx(float(np.quantile(inside.amax((1, 2)), 0.95)), rel=1e-3)


def test_the_overlay_is_clear_where_all_is_usual_and_strongest_at_the_peak() -> None:
    heat = np.float32([[0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.1, 0.9]])
    over = np.asarray(patches.Explanation(heat, (5, 5), (0, 0, 6), 0.1, 0.5).overlay(60))
    assert over.shape == (60, 60, 4) and over[5, 5, 3] == 0
    assert over[..., 3].max() == pytest.approx(255 * patches.OPAQUE, abs=1) and over[55, 55, 3] > 150
    assert over[55, 55, 0] == 255 and over[55, 55, 1] < 40


def test_export_keeps_some_says_the_size_and_leaves_them_out_on_request(bench: Callable[..., Said], made: Made) -> None:
    run = ("export", made.record.name, "--results", made.results, "--data", made.data, "--to", "d")
    said = bench(*run, "--patches", "50")
    size = sum(path.stat().st_size for path in Path("d").iterdir())
    assert "maps: 50 of 640 places of training images" in said.out and f"size: {size / 1e6:.1f} MB\n" in said.out
    assert Detector.load("d", "cpu").explain("d/../" + str(_picture(made))).heat.shape == (4, 4)
    said = bench(*run, "--patches", "0", "--replace")
    assert "maps: none" in said.out and not Path("d/patches.safetensors").exists()
    with pytest.raises(BenchError, match="has no patches of training images, so that it cannot say where; export it"):
        Detector.load("d", "cpu").explain("picture.png")
    export(made.folder, Path("e"), Path("nothing"))
    assert Detector.load("e", "cpu").patches is None


def _picture(made: Made) -> Path:
    Image.fromarray(load(made.data, "mini-ood", "test").images[0]).save("picture.png")
    return Path("picture.png")


def test_spoilt_patches_are_named(copy: Path) -> None:
    tensors = safetensors.torch.load_file(copy / artifact.PATCHES)
    safetensors.torch.save_file({"patches": tensors["patches"][:5].contiguous()}, copy / artifact.PATCHES)
    with pytest.raises(BenchError, match=r"patches\.safetensors: has \d+ bytes, detector.json says"):
        Detector.load(copy)
    settings = json.loads((copy / "detector.json").read_text())
    settings["files"][artifact.PATCHES] = artifact.checksum(copy / artifact.PATCHES).model_dump()
    (copy / "detector.json").write_text(json.dumps(settings))
    with pytest.raises(BenchError, match=r"patches\.safetensors: holds something else than patches, float16 \(640, 24"):
        Detector.load(copy)


def test_the_map_on_the_page_covers_the_square_that_is_seen(made: Made) -> None:
    detector = Detector.load(made.whole, "cpu")
    pixels = load(made.data, "mini-ood", "test").images[0]
    wide = Image.fromarray(np.concatenate([np.zeros_like(pixels), pixels, np.zeros_like(pixels)], 1))
    thumbnail, where = _thumbnail(Source("a", lambda: wide), detector)
    assert where is not None
    with Image.open(io.BytesIO(thumbnail)) as image, Image.open(io.BytesIO(where)) as over:
        alpha = np.asarray(over)[..., 3]
        assert image.size == over.size == (96, 32) and alpha[:, :32].max() == alpha[:, 64:].max() == 0
        strongest = detector.explain(wide).overlay(32)
        np.testing.assert_array_equal(alpha[:, 32:64], np.asarray(strongest)[..., 3])


@pytest.mark.parametrize("size", [(3, 20_000), (20_000, 3)])
def test_a_long_strip_has_its_place_on_the_page(made: Made, size: tuple[int, int]) -> None:
    detector = Detector.load(made.whole, "cpu")
    thumbnail, where = _thumbnail(Source("strip", lambda: Image.new("RGB", size)), detector)
    assert where is not None
    with Image.open(io.BytesIO(thumbnail)) as image, Image.open(io.BytesIO(where)) as over:
        assert image.size == over.size and min(image.size) == 1
