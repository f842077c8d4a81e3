"""A folder that is no detector says so and runs nothing."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from benchmark import Detector
from benchmark.data.images import load
from benchmark.detector import artifact
from benchmark.errors import BenchError


class Exploit:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def resum(folder: Path) -> None:
    """Make detector.json agree with the files again, as someone with bad intent would."""
    settings = json.loads((folder / "detector.json").read_text())
    settings["files"] = {name: artifact.checksum(folder / name).model_dump() for name in settings["files"]}
    (folder / "detector.json").write_text(json.dumps(settings))


def change(folder: Path, **values: Any) -> None:
    settings = json.loads((folder / "detector.json").read_text())
    (folder / "detector.json").write_text(json.dumps({**settings, **values}))


def refused(folder: Path, says: str) -> None:
    with pytest.raises(BenchError, match=says) as error:
        Detector.load(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


@pytest.mark.parametrize("name", [artifact.BACKBONE, artifact.BANK])
def test_damaged_files(copy: Path, name: str) -> None:
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[:-10])
    refused(copy, rf"{name}: has {len(whole) - 10} bytes, detector.json says {len(whole)}")
    (copy / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(copy, rf"{name}: is not the file that was exported \(sha256 ")
    (copy / name).write_bytes(whole[: len(whole) // 2])
    resum(copy)
    refused(copy, rf"{name}: not readable as safetensors")
    (copy / name).unlink()
    refused(copy, rf"{name}: is missing")


@pytest.mark.parametrize("name", [artifact.BACKBONE, artifact.BANK])
@pytest.mark.parametrize("how", ["pickle", "torch", "numpy"])
def test_a_pickle_is_never_loaded(copy: Path, tmp_path: Path, name: str, how: str) -> None:
    mark = tmp_path / "ran"
    if how == "pickle":
        (copy / name).write_bytes(pickle.dumps(Exploit(mark)))
    elif how == "torch":
        torch.save({"features": Exploit(mark)}, copy / name)
    else:
        with open(copy / name, "wb") as file:
            np.save(file, np.array([Exploit(mark)], dtype=object), allow_pickle=True)
    resum(copy)
    refused(copy, rf"{name}: not readable as safetensors")
    assert not mark.exists()
    pickle.loads(pickle.dumps(Exploit(mark)))
    assert mark.exists()  # the exploit is one


def test_settings_that_are_not_to_be_trusted(copy: Path) -> None:
    change(copy, schema_version=artifact.SCHEMA + 1)
    refused(
        copy,
        f"schema_version: {artifact.SCHEMA + 1} was written by a newer release; this one reads up to {artifact.SCHEMA}",
    )
    change(copy, schema_version="1")
    refused(copy, "schema_version: must be a whole number from 1, given 1")
    change(copy, schema_version=1, surprise=3)
    refused(copy, "unknown key 'surprise'")
    (copy / "detector.json").write_text("[" * 100_000)
    refused(copy, "not readable as JSON")
    (copy / "detector.json").write_text("{")
    refused(copy, "not readable as JSON")
    (copy / "detector.json").unlink()
    refused(copy, r"not a detector \(no detector.json\)")


@pytest.mark.parametrize(
    ("backbone", "says"),
    [
        ({"backbone": "hf-hub:someone/something", "args": {}}, "unknown backbone"),
        (
            {"backbone": "vit_tiny_patch16_224", "args": {"checkpoint_path": "evil.pth"}},
            "checkpoint_path cannot be set",
        ),
        ({"backbone": "vit_tiny_patch16_224", "args": {"pretrained": True}}, "pretrained cannot be set"),
        ({"backbone": "vit_tiny_patch16_224", "args": {}}, "does not fit vit_tiny_patch16_224"),
    ],
)
def test_a_backbone_that_would_be_fetched_or_does_not_fit(copy: Path, backbone: dict[str, Any], says: str) -> None:
    change(copy, backbone={**backbone, "drop_path": 0.0})
    refused(copy, says)


def test_a_bank_that_is_not_what_the_settings_say(copy: Path) -> None:
    bank = safetensors.torch.load_file(copy / artifact.BANK)
    for tensors, says in (
        ({**bank, "features": bank["features"][:, :5].contiguous()}, r"features: is torch.float16 \(40, 5\), wanted"),
        ({**bank, "id_scores": bank["id_scores"] * torch.nan}, "id_scores: holds NaN or infinity"),
        ({"features": bank["features"]}, "holds features; wanted are features, hash, id_scores, index, label"),
    ):
        safetensors.torch.save_file(tensors, copy / artifact.BANK)
        resum(copy)
        refused(copy, says)


# --- of an earlier version -------------------------------------------------------------------------------------------

# What version 0.1.0, which wrote `exported_by_0_1`, gave the images of `mini-ood`.
SCORES_THEN = [
    -24.942442, -24.717981, -24.809946, -24.923386, -24.941593, -24.94802, -24.930765, -24.906485, -24.939922,
    -24.882145, -24.938074, -24.946167, -24.91518, -24.949253, -24.936653, -24.946852, -24.918852, -24.924068,
    -24.93278, -24.901682,
]  # fmt: skip


def test_a_detector_of_the_first_version_loads_and_scores_as_then(mini_data: Path) -> None:
    detector = Detector.load(Path(__file__).parent / "exported_by_0_1", "cpu")
    assert detector.settings.backbone.args == {"patch_size": 16, "embed_dim": 8, "depth": 1, "num_heads": 2}
    np.testing.assert_allclose(detector.score(load(mini_data, "mini-ood", "test").images), SCORES_THEN, rtol=1e-5)
