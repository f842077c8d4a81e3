"""`bench init`: the warnings, each from a folder that deserves it, and a sweep file that can be run as it is."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from command import run_bench
from own_pictures import pictures, save
from PIL import Image

from benchmark.data import images
from benchmark.errors import BenchError
from benchmark.own.bring import SIZES, Own, bring
from benchmark.own.examine import Findings, auroc_reach, examine
from benchmark.own.layout import layout
from benchmark.own.orientation import Upright
from benchmark.own.summary import rows
from benchmark.own.sweepfile import refuse_to_overwrite, sweep_text, write_sweep
from benchmark.plan import sweep, yamlfile


def grain(count: int, seed: int, scale: float = 40) -> np.ndarray:
    """Images without an up, a layout, or anything else."""
    return np.clip(np.random.default_rng(seed).normal(128, scale, (count, 32, 32, 3)), 0, 255).astype(np.uint8)


def looked_through(folder: Path, **options: object) -> tuple[Own, Findings]:
    brought = bring(layout(folder, "mine"), folder.parent / "data", **options)  # type: ignore[arg-type]
    return brought, examine(brought)


def warned(found: Findings, *words: str) -> bool:
    return any(all(word in line for word in words) for line in found.warnings)


def test_clean_and_spoilt_folders(tmp_path: Path) -> None:
    save(tmp_path / "mine" / "in", pictures(100, seed=1))
    save(tmp_path / "mine" / "aux", pictures(60, seed=2))
    save(tmp_path / "mine" / "ood" / "alike", pictures(60, seed=3))
    brought, clean = looked_through(tmp_path / "mine")
    assert [line.split(":")[0] for line in clean.warnings if "up and down" not in line] == ["few ID images"] * 2 + [
        "ood/alike"
    ]
    assert all(not low.is_easy for low in clean.low_level.values())
    save(tmp_path / "mine" / "ood" / "sharp", grain(60, 4), suffix="jpg", quality=90)
    save(tmp_path / "mine" / "ood" / "big", pictures(60, seed=5, size=96))
    save(tmp_path / "mine" / "aux", pictures(100, seed=1)[:3], 200, "jpg", quality=80)
    save(tmp_path / "mine" / "in", pictures(100, seed=1)[:8, :, ::-1], 300)
    (tmp_path / "mine" / "in" / "999.png").write_bytes(b"no image")
    _, spoilt = looked_through(tmp_path / "mine", replace=True)
    assert warned(spoilt, "aux: 3 images are near-duplicates of in's", "200.jpg = 000.png")
    assert warned(spoilt, "in: 16 of 108 images have a near-duplicate")
    assert warned(spoilt, "in: 1 unreadable files skipped", "999.png")
    assert warned(spoilt, "ood/sharp: image statistics alone", "sharpness alone 100, it has more")
    assert warned(spoilt, "ood/sharp: JPEG (60) beside ID's PNG (108)")
    assert warned(spoilt, "ood/big: median side 96 pixels beside ID's 32")
    assert spoilt.low_level["mine-sharp"].auroc > 95
    assert len(rows(brought, clean)) == 3
    _, dropped = looked_through(tmp_path / "mine", replace=True, drop_duplicates=True)
    assert warned(dropped, "aux: 3 images are near-duplicates of in's: left out")


def test_small_and_narrow_images_are_told(tmp_path: Path) -> None:
    save(tmp_path / "mine", [np.asarray(Image.fromarray(p).resize((100, 24))) for p in pictures(40)])
    _, found = looked_through(tmp_path / "mine")
    assert warned(found, "40 of 40 images are smaller than 32 pixels (down to 24)")
    assert not warned(found, "smaller --size")  # there is none
    assert warned(found, "leaves out 76% of the median image")


def test_auroc_reach_is_the_spread_of_aurocs_of_noise() -> None:
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(0)
    values = 100 * mannwhitneyu(rng.normal(size=(3000, 25)), rng.normal(size=(3000, 60)), axis=1).statistic / (25 * 60)
    assert auroc_reach(60, 25) == pytest.approx(1.96 * np.std(values), rel=0.05)


def test_how_many_test_images_are_asked_for(tmp_path: Path) -> None:
    save(tmp_path / "mine", pictures(100))
    _, found = looked_through(tmp_path / "mine")
    need = int(next(line for line in found.warnings if "±3 take" in line).split("±3 take ")[1].split()[0])
    assert auroc_reach(4 * need, need) <= 3 < auroc_reach(4 * (need - 1), need - 1)


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_every_size_gives_a_sweep_whose_patches_fit(tmp_path: Path, size: int, gpu: bool) -> None:
    save(tmp_path / "mine" / "in", pictures(30))
    save(tmp_path / "mine" / "aux", pictures(5, seed=2))
    brought = bring(layout(tmp_path / "mine", "mine"), tmp_path / "data", size=size)
    found = Findings({}, Upright(60, 2, 30), [])
    write_sweep(tmp_path / "a.yaml", brought, found, gpu, None)
    for run in sweep.load(tmp_path / "a.yaml").runs:
        config = run.config
        assert config.views.global_size == config.data.image_size == size
        patch = config.model.args["patch_size"] if gpu else 1
        assert config.views.global_size % patch == 0 == config.views.local_size % patch
        assert config.train.batch <= brought.train
        assert run.resources.gpus == int(gpu)


def test_sweep_text_by_what_is_there(tmp_path: Path) -> None:
    save(tmp_path / "mine" / "in", pictures(40))
    brought, found = looked_through(tmp_path / "mine")
    text = sweep_text(tmp_path / "a.yaml", brought, found, False, tmp_path / "data")
    raw = yamlfile.parse(text, "text")
    assert raw["grid"] == {"variant": ["dino", "rot-in-dist", "perm-16-in-dist", "perm-4-in-dist"], "seed": [0, 1, 2]}
    assert (
        raw["base"]["eval"] == {"ood": [], "scores": ["eq6-from-negatives", "eq6-confident", "msp"]}
        and "sources" not in raw["base"]["data"]
    )
    assert f"--data {tmp_path / 'data'}" in text
    turned = Findings({}, Upright(25, 2, 40), [])
    flat = yamlfile.parse(sweep_text(tmp_path / "a.yaml", brought, turned, False, None), "text")
    assert flat["grid"]["variant"] == ["dino", "perm-16-in-dist", "perm-4-in-dist"]
    save(tmp_path / "mine" / "aux", pictures(40, seed=2))
    brought, found = looked_through(tmp_path / "mine", replace=True)
    text = sweep_text(tmp_path / "a.yaml", brought, turned, False, None)
    raw = yamlfile.parse(text, "text")
    assert raw["grid"]["variant"] == ["dino", "imgn", "rot-imgn", "rot360-imgn", "perm-16-imgn", "perm-4-imgn",
                                      "pixperm-imgn"]  # fmt: skip
    assert "no up and down: rot-in-dist, combined" in text
    assert raw["base"]["data"]["sources"] == {"imagenet": "mine-aux"}


def test_an_existing_sweep_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("mine")
    with pytest.raises(BenchError, match="--force"):
        refuse_to_overwrite(tmp_path / "a.yaml", False)
    refuse_to_overwrite(tmp_path / "a.yaml", True)


SHORT = [f"--set={text}" for text in (
    "train.epochs=1", "train.warmup_epochs=0.1", "model.args={channels: [8, 8, 8, 8]}",
    "method={name: dino, classes: 8, head_hidden: 8, head_bottleneck: 4}", "views.local_views=1")]  # fmt: skip


def test_what_is_not_read_is_counted_and_a_set_of_the_catalogue_is_nobodys_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.heic", "b.HEIC", "notes.txt", ".hidden"):
        (folder / "in" / name).write_bytes(b"no image")
    picture = next((folder / "in" / "a").iterdir())
    picture.rename(picture.with_suffix(".jfif"))
    where = ["--data", str(tmp_path / "the data")]
    said = run_bench(monkeypatch, capsys, "init", str(folder), "--name", "cifar10", *where)
    assert said.code == 2 and "--name cifar10: is a set of the catalogue" in said.err
    said = run_bench(monkeypatch, capsys, "init", str(folder), "--to", "my sweep.yaml", *where)
    assert said.code == 0 and "not read: 2 .heic, 1 .txt; convert" in said.err
    (told,) = [line for line in said.out.splitlines() if line.startswith("Next: ")]
    assert shlex.split(told)[1:] == ["bench", "sweep", "my sweep.yaml", *where]
    assert (images.read_manifest(tmp_path / "the data", "mine", "train") or {})[
        "count"
    ] == 48  # the .jfif is one of them
    text = Path("my sweep.yaml").read_text()
    assert "bench sweep 'my sweep.yaml' --data" in text and "bench recommend 'my sweep.yaml'" in text
    said = run_bench(monkeypatch, capsys, "sweep", "my sweep.yaml", "--dry-run", "--data", str(tmp_path / "empty"))
    assert said.code == 2 and f"looked in {tmp_path / 'empty'}: --data, $BENCH_DATA" in said.err
    wrong = Path("my sweep.yaml").read_text().replace("in_dist: mine", "in_dist: mime")
    Path("wrong.yaml").write_text(wrong)
    said = run_bench(monkeypatch, capsys, "sweep", "wrong.yaml", "--dry-run", *where)
    assert said.code == 2 and "did you mean 'mine'?" in said.err


@pytest.mark.parametrize("name", ["2024", "1e5", "null"])
def test_a_folder_whose_name_is_a_number_to_yaml_gives_a_sweep_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("in", "aux", "ood/7"):
        save(tmp_path / name / place, pictures(30, seed=len(place)))
    said = run_bench(monkeypatch, capsys, "init", name, "--data", "data")
    assert said.code == 0 and "written:" in said.out
    config = sweep.load(Path(f"{name}.yaml"), data=tmp_path / "data").runs[0].config
    assert (config.in_dist, config.eval.ood, config.data.sources["imagenet"]) == (name, [f"{name}-7"], f"{name}-aux")


def test_names_that_are_no_utf_8_are_written_as_they_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "mine/in", pictures(30, seed=1))
    (Path(os.fsdecode(b"mine/in/caf\xe9.png"))).write_bytes(b"no image")
    said = run_bench(monkeypatch, capsys, "init", "mine", "--data", "data")
    assert said.code == 0 and "caf\\udce9.png" in said.out and "caf\\udce9.png" in Path("mine.yaml").read_text("utf-8")
    Path("mine/in").rename("mine-test")
    assert run_bench(monkeypatch, capsys, "data", "import", ".", "--data", "data2").code == 0


def test_from_a_folder_without_labels_or_ood_to_report_and_recommend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a user would: init, sweep, recommend, report; k-NN accuracy is None and no OOD set is asked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("benchmark.launch.slurm.is_available", lambda: False)
    save(tmp_path / "pets", pictures(60))

    def bench(*arguments: str) -> tuple[int, str, str]:
        said = run_bench(monkeypatch, capsys, *arguments)
        return said.code, said.out, said.err

    code, out, _ = bench("init", "pets", "--cpu")
    assert code == 0 and "bench sweep pets.yaml" in out and "bench recommend pets.yaml" in out
    assert max(map(len, out.splitlines())) <= 80 or str(tmp_path) in out
    code, _, err = bench("init", "pets", "--cpu")
    assert code == 2 and "pets.yaml: is there already" in err
    assert images.load(tmp_path / "data", "pets", "test").count == 12
    code, _, err = bench("recommend", "pets.yaml")
    assert code == 2 and "no trained runs of pets.yaml yet" in err

    from benchmark import run as main_path
    from benchmark.running.device import Runtime

    plan = sweep.load(Path("pets.yaml"), [text.removeprefix("--set=") for text in SHORT], "*-s0")
    for planned in (run for run in plan.runs if run.config.label in ("dino", "rot-in-dist", "untrained")):
        record = main_path.run(planned.config, tmp_path / "results", tmp_path / "data", Runtime("cpu"))
        assert record.own_score.ood == {} and set(record.knn_accuracy.values()) == {None}
    code, out, _ = bench("recommend", "pets.yaml", *SHORT, "--json", "choice.json", "--markdown", "choice.md")
    assert code == 0 and "11 runs not done" in out and Path("choice.md").exists()
    assert "DeLong" not in out and "DeLong" in bench("recommend", "pets.yaml", *SHORT, "--details")[1]
    [now] = [line for line in out.splitlines() if line.startswith("What to do now: ")]
    assert out.endswith(now + "\n")
    words = shlex.split(now.partition(": bench ")[2])
    assert words[0] == "export" and words[2:] in (
        ["--to", "pets-dino-s0-detector", "--false-alarms", "8%"],  # 12 test images allow no less
        ["--to", "pets-rot-in-dist-s0-detector", "--false-alarms", "8%"],
    )
    code, out, err = bench(*words)
    assert code == 0 and "score: eq6" in out and "OOD set" not in out and "bench score pets-" in out, err
    code, out, err = bench("report", "--all", "--sweep", "pets.yaml", *SHORT)
    assert code == 0 and Path("reports/pets/figure3.png").exists(), err
