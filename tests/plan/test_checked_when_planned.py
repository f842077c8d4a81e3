"""What a run needs is looked at when it is planned, and not after minutes of its training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import TINY, tiny

from benchmark import negatives
from benchmark.data.images import class_names, fingerprint, load, stored_fingerprint
from benchmark.errors import BenchError
from benchmark.negatives import IN_DIST, TRANSFORMS, Negative, Variant
from benchmark.plan import yamlfile
from benchmark.plan.sweep import load as load_sweep
from benchmark.store.states import plan
from benchmark.views.transforms import DRAWS, JOINED, draw_negative


@pytest.mark.parametrize(
    ("negative", "words"),
    [
        (Negative("imagenet", "rott"), "variant: unknown transform of negatives 'rott' .did you mean 'rot'"),
        (Negative("imagenet", "perm-x"), "unknown transform of negatives 'perm-x'"),
        (Negative("imagenet", "perm-"), "unknown transform of negatives 'perm-'"),
        (Negative("imagenet", "blend"), "'blend' joins an image with another: name its partner"),
        (Negative("imagenet", "rot", IN_DIST), "'rot' has no use for a partner"),
        (Negative("imagenette", "rot"), r"needs data\.sources\.imagenette"),
    ],
)
def test_a_negative_that_cannot_be_made_is_refused(
    monkeypatch: pytest.MonkeyPatch, negative: Negative, words: str
) -> None:
    monkeypatch.setitem(negatives.OURS, "mine", Variant("Mine", (negative,)))
    with pytest.raises(BenchError, match=words) as caught:
        tiny(variant="mine")
    assert "\n" not in str(caught.value)


def test_the_transforms_that_are_known_are_those_that_views_can_do() -> None:
    by_masks = {"foreground", "background"}
    assert set(DRAWS) == {name for name, kind in TRANSFORMS.items() if not kind.whole} | {"none"}
    assert set(JOINED) | by_masks == {name for name, kind in TRANSFORMS.items() if kind.whole} - {"none"}
    assert {*JOINED, "foreground"} == {name for name, kind in TRANSFORMS.items() if kind.joins}
    for name in DRAWS:
        assert draw_negative(name + "-4" * TRANSFORMS[name].numbered, 3, torch.Generator()) is not None
    for variant in (negatives.VARIANTS | negatives.OURS).values():
        for negative in variant.negatives:
            negatives.check_transform(negative, 32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": {"batch": 41}}, r"s\.yaml: train\.batch: 41 is more than the 40 training images of mini"),
        ({"eval": {"ood": ["mini-ood"], "knn": [41]}}, r"s\.yaml: eval\.knn: 41 neighbours of 40 training images"),
        (
            {"eval": {"ood": [], "scores": ["knn-40"], "knn": [5]}},
            r"eval\.scores: knn-40 asks for more than the 39 other",
        ),
        ({"train": {"batch": 2}, "data": {"train_limit": 4}}, r"eval\.knn: 5 neighbours of 4 training images"),
        ({"data": {"image_size": 64}}, r"mini/train: its images are 32x32, data\.image_size is 64"),
    ],
)
def test_images_that_do_not_fit_the_settings_are_refused(
    tmp_path: Path, mini_data: Path, change: dict, words: str
) -> None:
    base = {**TINY, **{key: {**TINY.get(key, {}), **value} for key, value in change.items()}}
    (tmp_path / "s.yaml").write_text(yamlfile.write({"base": base, "references": []}))
    with pytest.raises(BenchError, match=words):
        plan(load_sweep(tmp_path / "s.yaml"), tmp_path / "results", mini_data)


@pytest.mark.parametrize(
    "change", [{"train": {"batch": 40}}, {"variant": "none", "method": {"name": "untrained"}, "train": {"batch": 41}}]
)
def test_a_batch_of_all_images_fits_and_what_does_not_train_needs_none(
    tmp_path: Path, mini_data: Path, change: dict
) -> None:
    base = {**TINY, **change, "train": {**TINY["train"], **change["train"]}}
    (tmp_path / "s.yaml").write_text(yamlfile.write({"base": base, "references": []}))
    assert [item.state for item in plan(load_sweep(tmp_path / "s.yaml"), tmp_path / "results", mini_data)] == ["to do"]


def test_built_in_images_that_are_not_stored_have_the_same_fingerprint_and_classes(tmp_path: Path) -> None:
    root, key = tmp_path / "data", ("synthetic-digits", "test")
    seen = fingerprint(root, *key, store=False), class_names(root, *key, store=False)
    assert not root.exists() and stored_fingerprint(root, "/".join(key)) is None
    assert seen == (load(root, *key).fingerprint, class_names(root, *key)) and None not in seen
    assert stored_fingerprint(root, "/".join(key)) == seen[0]
