"""What a training notes of itself: losses by step and by epoch, where it is, its seconds; and whose images it saw."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import tiny

from benchmark import methods
from benchmark.data.images import load
from benchmark.running.signals import Stopped
from benchmark.running.status import Progress, Reporter
from benchmark.store.folders import RunFolder
from benchmark.training.batches import Batches, DeviceImages
from benchmark.training.checkpoint import load_checkpoint, save_checkpoint
from benchmark.training.loop import Trainer, TrainingHooks
from benchmark.training.metrics import Losses, Summary
from benchmark.training.trained import batches_of

CPU = torch.device("cpu")


def fit(data: Path, folder: Path, **options: Any) -> Summary:
    torch.manual_seed(0)
    config = tiny(variant="dino")
    batches = Batches(config, DeviceImages(load(data, "mini", "train").images, CPU), {})
    outside = TrainingHooks(say=lambda line: None, **options)
    return Trainer(methods.build(config, CPU), batches, config.train, 0, folder, "me", outside).train()


def test_losses_are_means_over_the_steps_brought_together_and_over_the_epoch() -> None:
    losses = Losses({})
    for window, mean in (([1.0, 2.0, 6.0], 3.0), ([4.0, 8.0], 6.0)):
        losses.window = [{"loss": torch.tensor(value)} for value in window]
        assert losses.bring(5, 10) == {"loss": mean} and not losses.window
    assert losses.end_epoch(5) == {"loss": 21 / 5}  # not the mean of the two means
    losses.window = [{"loss": torch.tensor(7.0)}]
    losses.bring(6, 10)
    assert losses.end_epoch(1) == {"loss": 7.0}  # nothing of the epoch before


def test_each_line_says_how_many_epochs_are_done_and_the_last_ones_make_the_summary(
    tmp_path: Path, mini_data: Path
) -> None:
    summary = fit(mini_data, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == pytest.approx([step / 5 for step in range(1, 11)])
    for name in ("loss", "positive"):
        assert summary.losses[name] == pytest.approx(np.mean([line[name] for line in lines[5:]]))


def test_a_resumed_training_counts_the_seconds_before_it_stopped(tmp_path: Path, mini_data: Path) -> None:
    calls = 0

    def should_stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == 4

    with pytest.raises(Stopped):
        fit(mini_data, tmp_path, should_stop=should_stop)
    saved = load_checkpoint(tmp_path / "checkpoint.pt", "me")
    assert saved is not None
    before = json.loads(saved["summary"])
    assert 0 < before["seconds"] < 600
    save_checkpoint(tmp_path / "checkpoint.pt", {**saved, "summary": json.dumps({**before, "seconds": 1000.0})})
    after = fit(mini_data, tmp_path)
    assert 1000 < after.seconds < 1600
    # A speed is of this process alone: 6 of the 10 steps, of 8 images each.
    assert after.pairs_per_second == pytest.approx(6 * 8 / (after.seconds - 1000), rel=1e-6)


def test_a_status_says_how_many_epochs_are_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path)
    with Reporter(folder, tiny()) as reporter:
        reporter._written = reporter._said = -1e9  # long ago
        reporter.progress(Progress(35, 50, 4, {"loss": 1.5, "positive": 1.25}, 20.0, 90.0))
        status = folder.read_status()
        assert status is not None
        found = (status.state, status.step, status.steps, status.epoch, status.epochs, status.loss, status.seconds_left)
        assert found == ("running", 35, 50, pytest.approx(2.8), 4, 1.5, 90.0)
    said = capsys.readouterr().out
    assert "epoch 2.80 of 4, step 35 of 50: loss 1.5000, positive 1.2500; 20.0 images/s, 1.5 min left" in said


def test_a_status_says_how_many_images_have_their_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path)
    with Reporter(folder, tiny()) as reporter:
        reporter._phase_began -= 1000  # of the phases before it
        reporter.phase("features")
        reporter._written = reporter._said = -1e9  # long ago
        reporter._phase_began -= 10
        reporter.extracted(500, 2000)
        status = folder.read_status()
        assert status is not None and (status.phase, status.extracted, status.images) == ("features", 500, 2000)
        assert status.seconds_left == pytest.approx(30, rel=0.05)
    assert re.search(r"features of 500 of 2,000 images; (49|50)\.\d images/s, 0\.5 min left", capsys.readouterr().out)


@pytest.mark.parametrize(("variant", "behind"), [
    ("rot-imgn", {"imagenet": 2}), ("rot-dti", {"dti": 3}), ("combined", {"imagenet": 2}), ("rot-in-dist", {}),
])  # fmt: skip
def test_behind_each_source_stand_the_images_that_the_settings_name(variant: str, behind: dict[str, int]) -> None:
    levels = {"mini/train": 1, "first/aux": 2, "second/aux": 3}

    def array(key: str) -> np.ndarray:
        return np.full((16, 32, 32, 3), levels[key], np.uint8)

    config = tiny(variant=variant, data={"sources": {"imagenet": "first", "dti": "second"}})
    images = SimpleNamespace(config=config, array=array, labels=lambda key: torch.arange(16) + 100 * levels[key])
    made = batches_of(methods.build(config, CPU), images, CPU)  # type: ignore[arg-type]
    found = {source: int(some.take(torch.tensor([0]))[0, 0, 0, 0]) for source, some in made.images.items()}
    assert found == {"in-dist": 1, **behind} and made.labels.tolist() == list(range(100, 116))
