"""The score histograms of the page, and the images found most and least OOD."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmark.data.catalog import info
from benchmark.data.images import ImageSet, load, read_manifest
from benchmark.report.figures import embed
from benchmark.report.figures.panels import Histogram, span
from benchmark.report.groups import Group, Run
from benchmark.report.page.document import png
from benchmark.store.folders import RunFolder

THUMBNAILS = 8  # at each end of each OOD set
THUMBNAIL_SIDE = 64  # larger images are shrunk to it
IMAGE_BYTES = 3_000_000  # all thumbnails of a page together; variants beyond are named


@dataclass
class Thumbnails:
    """The thumbnails of a page: each image once, by number, as long as there is room."""

    data: Path
    room: int  # bytes
    sources: list[str] = field(default_factory=list)
    numbers: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def images_of(self, run: Run, key: str) -> ImageSet | str:
        """The images that the run scored as "set/split" `key`, or why they cannot be shown."""
        assert run.record is not None
        name, _, split = key.rpartition("/")
        manifest = read_manifest(self.data, name, split)
        seen = run.record.data.get(key)
        if manifest is None:
            return "its images are not on this machine (--data says where they are)"
        if seen is None or manifest["sha256"] != seen.fingerprint:
            return "the images stored here are not those that the run saw"
        limit = run.config.data.test_limit
        if limit is not None and limit < manifest["count"]:
            return "the run scored a random part of them (data.test_limit)"
        return load(self.data, name, split)

    def add(self, many: Sequence[tuple[ImageSet, int]]) -> list[int] | None:
        """Their numbers; None, and nothing kept, where there is no room for all of them."""
        new, used = {}, 0
        for images, index in many:
            key = (images.name, images.fingerprint, index)
            if key not in self.numbers and key not in new:
                new[key] = png(thumbnail(images.images[index]))
                used += len(new[key]) + 3
        if used > self.room:
            return None
        self.room -= used
        for key, source in new.items():
            self.numbers[key] = len(self.sources)
            self.sources.append(source)
        return [self.numbers[(images.name, images.fingerprint, index)] for images, index in many]


def thumbnail(image: np.ndarray) -> bytes:
    """An image (H, W, 3) uint8 as a PNG of at most THUMBNAIL_SIDE pixels a side."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    picture.save(stream, "png", optimize=True)
    return stream.getvalue()


def chooser(group: Group, in_dist: str, thumbnails: Thumbnails) -> dict[str, Any]:
    """Histograms and extreme images of each OOD set, a block a column of which one is shown."""
    shown = {}
    for column in group.columns(in_dist):
        shown_records = {id(record) for record in group.records(in_dist, column.key).values()}  # by value takes long
        done = [run for run in group.runs_of(in_dist) if id(run.record) in shown_records]
        run = min(done, key=lambda run: run.config.seed, default=None)
        folder = RunFolder(run.record.folder) if run and run.record and run.record.folder else None
        if run and folder and folder.scores.exists():
            shown[column.key] = (column, run, folder.read_scores(run.config))
    # The best first: it is shown first, and gets its thumbnails while there is room.
    cases = group.cases(in_dist) if not group.parent else [c for c in group.cases(group.parent) if c.in_dist == in_dist]
    mean = group.mean(cases)

    def rank(key: str) -> tuple[bool, float]:
        column, run, _ = shown[key]
        return column.is_reference, -mean.seeds(key).get(run.config.seed, 0.0)

    order = sorted(shown, key=rank)
    blocks = [_block(f"{in_dist} {key}", *shown[key][1:], thumbnails) for key in order]
    options = [(f"{in_dist} {key}", f"{column.title}, seed {run.config.seed}", key == order[0])
               for key, (column, run, _) in shown.items()]  # fmt: skip
    return {"title": info(in_dist).title, "options": options, "blocks": blocks}


def _block(value: str, run: Run, scores: dict[str, np.ndarray], thumbnails: Thumbnails) -> dict[str, Any]:
    """A card an OOD set, and what holds of all cards."""
    config = run.config
    assert run.record is not None
    own = config.method.own_score
    scores = {key.removesuffix(f":{own}"): rows for key, rows in scores.items() if key.endswith(f":{own}")}
    of_id = scores.get(config.test_key, np.empty(0))
    keys = {ood: key for ood in config.ood_sets() if (key := config.ood_key(ood)) in scores}
    every = np.concatenate([of_id, *(scores[key] for key in keys.values())])
    every = every[np.isfinite(every)]
    if not len(every):
        return {"value": value, "cards": [], "note": "This run has no scores of these sets."}
    low, high = (float(value) for value in np.quantile(every, [0.002, 0.998]))
    ends = (low, high) if high > low else span([low])
    cards: list[dict[str, Any]] = []
    for ood, key in keys.items():
        measured = run.record.own_score.ood.get(ood)
        name = info(ood).title
        facts = f"AUROC {measured.auroc:.2f} · {measured.n_id:,} against {measured.n_ood:,} images" if measured else ""
        found = _extremes(run, key, scores[key], thumbnails)
        strips, note = ({}, f"No thumbnails: {found}.") if isinstance(found, str) else (found, "")
        histogram = Histogram(f"{name}: scores of {config.label}", of_id, scores[key], ends)
        cards.append({"title": name, "facts": facts, "svg": embed.panel(histogram), "strips": strips, "note": note})
    notes = {card["note"] for card in cards} or {"No OOD set is scored."}
    if len(notes) == 1:  # once, not below each histogram
        return {"value": value, "cards": [card | {"note": ""} for card in cards], "note": notes.pop()}
    return {"value": value, "cards": cards, "note": ""}


def _extremes(run: Run, key: str, scores: np.ndarray, thumbnails: Thumbnails) -> dict[str, list[tuple[int, str]]] | str:
    """The images with the highest and the lowest scores, or why there are none to show."""
    images = thumbnails.images_of(run, key)
    if isinstance(images, str):
        return images
    if len(scores) != images.count:
        return f"{len(scores)} scores for {images.count} images"
    order = np.argsort(-scores, kind="stable")
    order = order[np.isfinite(scores[order])]
    few = min(THUMBNAILS, len(order) // 2)
    ends = {"most OOD": order[:few], "least OOD": order[::-1][:few]}
    numbers = thumbnails.add([(images, int(i)) for chosen in ends.values() for i in chosen])
    if numbers is None:
        return "left out to keep this page small"
    classes = images.manifest.get("classes") or []
    place = iter(numbers)

    def tip(i: int) -> str:
        label = int(images.labels[i])
        of_class = f"{classes[label]}\n" if 0 <= label < len(classes) else ""
        return f"{of_class}score {scores[i]:.3f}\nimage {i} of {info(images.name).title}"

    return {name: [(next(place), tip(int(i))) for i in chosen] for name, chosen in ends.items()}
