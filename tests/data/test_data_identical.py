"""Sets that share images: counted when they are brought, kept by the record, and said under the tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from picture_files import noise, quiet, save
from tiny_runs import tiny, write_mini_sets

from benchmark.data import images
from benchmark.data.identical import digests, shared
from benchmark.data.importing import import_dir
from benchmark.running.images import load_images


def test_equal_images_have_equal_digests_and_are_counted() -> None:
    some = noise(30, 32, 32, 3)
    those = np.concatenate([some[5:9], some[5:6], noise(10, 32, 32, 3, seed=1)])
    nearly = some[:5].copy()
    nearly[:, 31, 31, 2] ^= 1
    expected = sum(any(np.array_equal(one, other) for other in those) for one in some)
    assert shared(digests(some), digests(those)) == expected == 4
    assert shared(digests(those), digests(some)) == 5
    assert shared(digests(nearly), digests(some)) == 0
    assert len(digests(some[:0])) == 0 and shared(digests(some), digests(some[:, :16, :16])) == 0


def test_an_import_counts_them_between_splits_and_with_what_is_stored(tmp_path: Path) -> None:
    pets = noise(20, 32, 32, 3)
    sets = {
        "pets-train": pets[:12], "pets-test": pets[9:], "far-test": noise(5, 32, 32, 3, seed=1),
        "wild-aux": np.concatenate([pets[:2], noise(4, 32, 32, 3, seed=2)]), "more-aux": pets[:2],
    }  # fmt: skip
    for name, pixels in sets.items():
        for i, one in enumerate(pixels):
            save(tmp_path / "in" / name / f"{i:02}.png", one)
    warned: list[str] = []
    import_dir(tmp_path / "in", tmp_path / "data", report=quiet, warn=warned.append)
    assert sorted(warned) == [
        "more/aux: 2 of 2 images are also in pets/train: what is to be known would be trained as unknown",
        "pets/test: 3 of 11 images are also in pets/train: what is trained on would be tested, or called OOD",
        "wild/aux: 2 of 6 images are also in pets/train: what is to be known would be trained as unknown",
    ]
    for i, one in enumerate([pets[15], pets[0], sets["wild-aux"][5]]):
        save(tmp_path / "later/ood-test" / f"{i}.png", one)
    warned.clear()
    (tmp_path / "data/torn/test").mkdir(parents=True)
    (tmp_path / "data/torn/test/manifest.json").write_text("{")
    import_dir(tmp_path / "later", tmp_path / "data", report=quiet, warn=warned.append)
    assert sorted(warned) == [
        "more/aux: 1 of 2 images are also in ood/test: they are seen in training as negatives, which raises an AUROC",
        "ood/test: 1 of 3 images are also in pets/test: where one is in-distribution, the other is not OOD",
        "ood/test: 1 of 3 images are also in pets/train: what is trained on would be tested, or called OOD",
        "wild/aux: 2 of 6 images are also in ood/test: they are seen in training as negatives, which raises an AUROC",
    ]


def test_the_record_counts_what_a_run_uses(tmp_path: Path) -> None:
    write_mini_sets(tmp_path)

    def put(name: str, split: str, rows: slice, of: str, those: slice) -> None:
        here, there = images.load(tmp_path, name, split), images.load(tmp_path, *of.split("/"))
        pixels = np.array(here.images)
        pixels[rows] = there.images[those]
        images.write_set(tmp_path, name, split, pixels, here.labels, "spoilt", replace=True)

    config = tiny(eval={"ood": ["mini-ood", "mini-ood2"]})
    assert all(seen.shared == {} for seen in load_images(config, tmp_path).in_record().values())
    put("mini", "test", slice(0, 3), "mini/train", slice(0, 3))
    put("mini-aux", "aux", slice(0, 4), "mini/train", slice(10, 14))
    put("mini-aux", "aux", slice(4, 6), "mini/test", slice(10, 12))
    put("mini-ood", "test", slice(0, 5), "mini-aux/aux", slice(20, 25))
    put("mini-ood", "test", slice(5, 6), "mini/test", slice(20, 21))
    put("mini-ood2", "test", slice(0, 2), "mini-ood/test", slice(18, 20))  # two OOD sets may
    record = load_images(config, tmp_path).in_record()
    assert {key: seen.shared for key, seen in record.items() if seen.shared} == {
        "mini/test": {"mini/train": 3},
        "mini-aux/aux": {"mini/train": 4, "mini/test": 2},
        "mini-ood/test": {"mini-aux/aux": 5, "mini/test": 1},
    }
    few = tiny(
        train={"batch": 1},
        eval={"ood": ["mini-ood"], "knn": [1]},
        data={"train_limit": 1, "aux_limit": 1, "test_limit": 1},
    )
    assert sum(sum(seen.shared.values()) for seen in load_images(few, tmp_path).in_record().values()) <= 1
