"""Someone's images: what is read, what is left out, where it goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from own_pictures import fails, pictures, save
from PIL import Image

from benchmark.data import images
from benchmark.data.pictures import to_square
from benchmark.own.bring import bring
from benchmark.own.layout import layout


def test_bring_stores_what_pil_gives_with_names_and_no_labels(folder: Path, tmp_path: Path) -> None:
    save(folder / "in" / "b", np.random.default_rng(9).integers(0, 256, (1, 70, 50, 3), dtype=np.uint8), 99)
    brought = bring(layout(folder, "mine"), tmp_path / "data", test_share=0.25, seed=3)
    assert (brought.train, brought.test) == (46, 15)
    seen = []
    for name, split in (("mine", "train"), ("mine", "test"), ("mine-aux", "aux"), ("mine-far-away", "test")):
        kept = images.load(tmp_path / "data", name, split)
        names = images.file_names(kept, tmp_path / "data")
        assert names is not None and (kept.labels == -1).all()
        base = {"mine": "in", "mine-aux": "aux", "mine-far-away": "ood/Far Away"}[name]
        for pixels, file in zip(kept.images, names, strict=True):
            assert np.array_equal(pixels, to_square(Image.open(folder / base / file), 32))
        seen += names if name == "mine" else []
    assert len(set(seen)) == 61
    again = bring(layout(folder, "mine"), tmp_path / "data", test_share=0.25, seed=3)  # the same: nothing to do
    assert again.train == 46
    assert "--replace" in fails(lambda: bring(layout(folder, "mine"), tmp_path / "data", seed=4))
    at48 = bring(layout(folder, "mine"), tmp_path / "data", size=48)
    assert at48.name == "mine@48" and images.load(tmp_path / "data", "mine-aux@48", "aux").images.shape[1] == 48
    assert not list((tmp_path / "data").glob("*.tmp")) and not list((tmp_path / "data").glob("*/.*"))


def test_every_kind_of_file_and_broken_ones(folder: Path, tmp_path: Path) -> None:
    place = folder / "in" / "kinds"
    place.mkdir()
    ramp = np.arange(1024).reshape(32, 32)
    Image.fromarray((ramp * 60).astype(np.uint16)).save(place / "sixteen.png")
    Image.fromarray((ramp // 4).astype(np.uint8)).save(place / "grey.png")
    Image.fromarray(pictures(1, seed=8)[0]).convert("RGBA").save(place / "alpha.png")
    Image.fromarray(pictures(1, seed=7)[0]).convert("P").save(place / "palette.gif")
    Image.fromarray(ramp.astype(np.float32)).save(place / "float.tif")
    (place / "empty.jpg").write_bytes(b"")
    whole = (folder / "in" / "a" / "000.png").read_bytes()
    (place / "cut.png").write_bytes(whole[: len(whole) // 2])
    brought = bring(layout(folder, "mine"), tmp_path / "data")
    inside = brought.loaded[0]
    assert len(inside.broken) == 3
    assert [Path(line.split(" (")[0]).name for line in inside.broken] == ["cut.png", "empty.jpg", "float.tif"]
    stored = {name: inside.images(np.array([i]))[0] for i, name in enumerate(inside.names)}
    assert np.array_equal(stored["kinds/sixteen.png"][..., 0], (ramp * 60) >> 8)  # scaled, not clipped
    assert "kinds/grey.png" in stored and "kinds/alpha.png" in stored and "kinds/palette.gif" in stored


def test_copies_go_and_likenesses_stay_together(folder: Path, tmp_path: Path) -> None:
    inside = pictures(60, seed=1)
    save(folder / "in" / "again", inside[:5])
    save(folder / "in" / "mirrored", inside[5:25, :, ::-1], 5)
    save(folder / "in" / "jpeg", inside[20:40], 20, "jpg", quality=70)
    for seed in range(3):
        brought = bring(layout(folder, "mine"), tmp_path / f"data{seed}", test_share=0.3, seed=seed)
        assert len(brought.loaded[0].copies) == 5
        assert len(brought.loaded[0].repeated) == 35 + 20 + 20  # 5 to 39 and their likenesses
        sides = {}
        for split in ("train", "test"):
            kept = images.load(tmp_path / f"data{seed}", "mine", split)
            for name in images.file_names(kept, tmp_path / f"data{seed}") or []:
                sides.setdefault(Path(name).stem, set()).add(split)
        assert len(sides) == 60 and all(len(side) == 1 for side in sides.values())
        assert brought.test == round(0.3 * 100)


def test_overlaps_between_sets_are_named_and_dropped_on_request(folder: Path, tmp_path: Path) -> None:
    save(folder / "aux", pictures(60, seed=1)[:4], 100, "jpg", quality=70)
    save(folder / "ood" / "near", pictures(60, seed=1)[10:13], 100)
    save(folder / "ood" / "Far Away", pictures(40, seed=2)[:2], 100)
    brought = bring(layout(folder, "mine"), tmp_path / "data")
    found = {(o.one.name, o.other.name): o.pairs for o in brought.overlaps}
    assert found == {
        ("mine-aux", "mine"): [(f"10{i}.jpg", f"a/00{i}.png") for i in range(4)],
        ("mine-near", "mine"): [(f"10{i}.png", f"a/01{i}.png") for i in range(3)],
        ("mine-far-away", "mine-aux"): [(f"10{i}.png", f"00{i}.png") for i in range(2)],
    }
    bring(layout(folder, "mine"), tmp_path / "clean", drop_duplicates=True)
    counts = [images.load(tmp_path / "clean", *key).count for key in (("mine-aux", "aux"), ("mine-near", "test"))]
    assert counts == [40, 20]
    assert images.load(tmp_path / "data", "mine-aux", "aux").count == 44


def test_bring_says_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    found = layout(folder, "mine")
    assert "--size 50" in fails(lambda: bring(found, tmp_path / "data", size=50))
    assert "--test-share 1" in fails(lambda: bring(found, tmp_path / "data", test_share=1))
    assert "20 and 1 are needed" in fails(lambda: bring(found, tmp_path / "data", test_share=0.9))
    assert "allowed" in fails(lambda: bring(layout(folder, "My Set"), tmp_path / "data"))
    save(tmp_path / "few", pictures(5))
    assert "at least 25 are needed" in fails(lambda: bring(layout(tmp_path / "few", "few"), tmp_path / "data"))
