"""Packages that add negatives, scores and methods: the READMEs' example as written, and a tiny one with a method."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from command import run_bench
from readmes import REPOSITORY, fences
from tiny_runs import TINY, tiny

from benchmark import plugins
from benchmark.errors import BenchError
from benchmark.launch.status import Row, about_code
from benchmark.negatives import VARIANTS, variant
from benchmark.plan import scores, yamlfile
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import MethodSettings
from benchmark.plan.titles import title_of
from benchmark.plan.validation import validate
from benchmark.report.figures.style import STYLES, style_of
from benchmark.report.tables.about import by_different_code
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.scoring.named import named
from benchmark.training.batches import Batches, DeviceImages
from benchmark.views.transforms import draw_negative

Install = Callable[..., Path]
METHOD = '''
from typing import ClassVar, Literal

from benchmark.plan.methods import MethodSettings


class ColourConfig(MethodSettings):
    """The mean colour of an image."""

    trains: ClassVar[bool] = False
    made_by: ClassVar[str] = "tiny_training:Colour"
    name: Literal["mean-colour"]
    power: float = 1.0
'''
TRAINING = """
from benchmark.methods.base import Method


class Colour(Method):
    def embed(self, images):
        return {"features": images.float().mean((2, 3)) ** self.config.method.power}
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package on the path as pip does: its modules, and the metadata that setuptools makes of pyproject.toml."""
    before = set(sys.modules)

    def put(pyproject: str, **modules: str) -> Path:
        name = tomllib.loads(pyproject)["project"]["name"]
        folder = tmp_path / name
        folder.mkdir()
        (folder / "pyproject.toml").write_text(pyproject)
        for module, text in modules.items():
            (folder / f"{module}.py").write_text(text)
        build = "import setuptools.build_meta as b; b.prepare_metadata_for_build_wheel('.')"
        subprocess.run([sys.executable, "-c", build], cwd=folder, check=True, capture_output=True)
        monkeypatch.syspath_prepend(str(folder))
        plugins._found.cache_clear()
        return folder

    yield put
    for cached in (plugins._found, plugins._now, plugins._fingerprint):
        cached.cache_clear()
    plugins._loaded.clear()
    for name in set(sys.modules) - before:
        if name.startswith(("my_rows", "tiny_")):
            del sys.modules[name]


def declared(name: str, **groups: str) -> str:
    """A pyproject.toml with these lines in these groups."""
    text = f'[project]\nname = "{name}"\nversion = "0.1"\n[tool.setuptools]\npy-modules = []\n'
    return text + "".join(f'[project.entry-points."ood_bench.{group}"]\n{line}\n' for group, line in groups.items())


@pytest.fixture
def readmes_package(install: Install) -> Path:
    """What benchmark/README.md and scoring/README.md show, word for word, in a folder of one's own."""
    page, scoring = ((REPOSITORY / f"benchmark/{p}README.md").read_text() for p in ("", "scoring/"))
    toml, score_toml, code, score_code = (next(fences(text, language))[1] for language in ("toml", "python")
                                          for text in (page, scoring))  # fmt: skip
    return install(toml + score_toml, my_rows=score_code + code)


def test_the_readmes_example_adds_negatives(readmes_package: Path, mini_data: Path, tmp_path: Path) -> None:
    assert "my_rows" not in sys.modules and plugins.names("negatives") == ["mirror", "stripes"]
    labels = {name: variant(name).label for name in ("mirror-imgn", "mirror-in-dist", "stripes-4-dti")}
    assert list(labels.values()) == ["Mirror ImgN", "Mirror In-Dist.", "Stripes-4 DTI"]
    assert title_of("mirror-in-dist") == "Mirror In-Dist."
    with pytest.raises(BenchError, match=r"unknown variant 'mirror-4-imgn'.*mirror-imgn.*stripes-N-in-dist"):
        variant("mirror-4-imgn")
    with pytest.raises(BenchError, match="unknown variant 'stripes-imgn'"):
        variant("stripes-imgn")
    own, mirror = tiny(variant="imgn"), tiny(variant="mirror-imgn")
    assert mirror.identity()["variant"] == [["imagenet", "mirror", "package my-rows"]]
    assert len({own.recipe_id(), mirror.recipe_id(), tiny(variant="stripes-4-imgn").recipe_id()}) == 3
    assert mirror.identity()["negatives"]["draw"] == "per-image"  # so it may be either, and each is a run of its own

    images = torch.randint(256, (400, 3, 8, 8), dtype=torch.uint8)
    made = draw_negative("mirror", 400, torch.Generator().manual_seed(0))
    assert torch.equal(made(images), images.flip(2))
    assert torch.equal(made[torch.tensor([3])](images[3:4]), made(images)[3:4]) and made.before_colours
    striped = draw_negative("stripes-2", 1, torch.Generator().manual_seed(1))
    [[shift]] = striped.numbers.tolist()
    wanted = images[:1].clone()
    for column in (0, 1, 4, 5):
        wanted[0, :, :, column] = images[0, :, :, column].roll(int(shift * 8), 1)
    assert torch.equal(striped(images[:1]), wanted) and not striped.before_colours


@pytest.mark.parametrize("draw", ["per-image", "per-view"])
@pytest.mark.parametrize("name", ["mirror-in-dist", "stripes-4-imgn"])
def test_a_packages_negatives_train_and_the_record_says_whose_they_are(
    readmes_package: Path, mini_data: Path, tmp_path: Path, name: str, draw: str
) -> None:
    config = tiny(variant=name, negatives={"draw": draw}, train={"epochs": 1, "warmup_epochs": 0.0},
                  eval={"ood": ["mini-ood"], "knn": [5], "scores": ["mean-cosine"]})  # fmt: skip
    record = run(config, tmp_path / "results", mini_data, Runtime(device="cpu", threads=1))
    assert record and set(record.scores) == {"eq6", "mean-cosine"}
    digest = hashlib.sha256(b"my_rows.py\0" + hashlib.sha256((readmes_package / "my_rows.py").read_bytes()).digest())
    said = f"my-rows 0.1, code {digest.hexdigest()[:12]}"
    assert record.environment["plugins"] == {f"negatives: {name.split('-')[0]}": said, "scores: mean-cosine": said}
    assert record.run_config == config


def test_an_edited_package_is_told_of_the_runs_that_it_made(install: Install) -> None:
    folder = install(declared("ours", negatives='tiny = "tiny_rows.deep:mirror"'))
    package = folder / "tiny_rows"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "deep.py").write_text("from tiny_rows.helper import mirror\n")
    (package / "helper.py").write_text("def mirror(): ...\n")
    plugins.load("negatives", "tiny")
    made = plugins.loaded()
    older = {"negatives: tiny": "ours 0.1"}
    assert plugins.changed(made) == plugins.changed(older) == []
    rows = [Row("one", "done", plugins=made), Row("two", "done", plugins=made), Row("none", "done")]
    assert about_code(rows, "now") == []

    def edited(text: str) -> list[str]:
        (package / "helper.py").write_text(text)
        for cached in (plugins._now, plugins._fingerprint):
            cached.cache_clear()
        return about_code(rows, "now")

    [told] = edited("def mirror(): return 1\n")
    assert told.startswith("tiny of ours has changed since these were made: one, two; to train runs anew: bench sweep")
    assert plugins.changed(older) == [] and plugins.changed({"negatives: tiny": "ours 0.2"}) == ["negatives: tiny"]
    assert plugins.changed({"negatives: gone": "ours 0.1"}) == ["negatives: gone"]
    now = plugins.loaded()
    notes = by_different_code([SimpleNamespace(codes=("a",), plugins=each) for each in (made, now, now, {})])
    assert notes == [
        f"tiny: its package was edited between these runs ({'; '.join(sorted((*made.values(), *now.values())))})."
    ]
    assert edited("def mirror(): ...\n") == []


def test_where_a_packages_transform_comes_among_the_views(
    readmes_package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []
    monkeypatch.setattr("benchmark.training.batches.render", lambda *a, **hooks: places.extend(
        key for key in ("after_crop", "after_normalise") if key in hooks) or torch.zeros(1))  # fmt: skip
    images = DeviceImages(np.zeros((40, 32, 32, 3), np.uint8), torch.device("cpu"))
    for name in ("mirror-imgn", "stripes-4-imgn"):
        config = tiny(variant=name, negatives={"draw": "per-view"})
        Batches(config, images, {"imagenet": images, "dti": images}).batch(0, 0)
    assert places == ["after_crop"] * 2 + ["after_normalise"] * 2


def test_the_readmes_score_is_had_by_its_name(readmes_package: Path) -> None:
    assert scores.needs(["mean-cosine"]) == frozenset() and scores.passes("mean-cosine+eq6") == 1
    assert type(named("mean-cosine", 0.04)).__name__ == "MeanCosine"
    with pytest.raises(BenchError, match=r"unknown score 'mean-cosine-5'.*mean-cosine"):
        scores.parts("mean-cosine-5")


NUMBERED = """
from benchmark.scoring.base import Score


class Numbered(Score):
    needs = frozenset({"logits"})
    number = KIND
    def __init__(self, given): self.given = given
"""


@pytest.mark.parametrize(
    ("kind", "asked", "given"),
    [("temperature", "tiny", 0.04), ("temperature", "tiny@0.5", 0.5), ("count", "tiny-7", 7)],
)
def test_a_packages_score_may_have_a_number_and_needs(install: Install, kind: str, asked: str, given: float) -> None:
    text = declared("tiny-rows", scores='tiny = "tiny_score:Numbered"')
    install(text, tiny_score=NUMBERED.replace("KIND", repr(kind)))
    assert named(asked, 0.04).given == given  # type: ignore[attr-defined]
    assert scores.needs([asked]) == {"logits"}
    rotation = {"in_dist": "mini", "method": {"name": "rotation"}, "train": {"epochs": 2, "warmup_epochs": 0}}
    with pytest.raises(BenchError, match="needs logits, which 'rotation' does not have"):
        validate(RunConfig, {**rotation, "eval": {"ood": ["x"], "scores": [asked]}}, "test")


def test_a_packages_method_runs(
    install: Install,
    mini_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(declared("tiny-rows", methods='mean-colour = "tiny_rows:ColourConfig"'), tiny_rows=METHOD,
            tiny_training=TRAINING)  # fmt: skip
    raw = {**TINY, "variant": "none", "method": {"name": "mean-colour", "power": 0.5}}
    config: RunConfig = validate(RunConfig, raw, "test")
    assert "tiny_training" not in sys.modules  # planning builds nothing
    assert config.label == "mean-colour" and config.model_dump()["method"] == {"name": "mean-colour", "power": 0.5}
    assert (
        config.recipe_id() != config.model_copy(update={"method": type(config.method)(name="mean-colour")}).recipe_id()
    )
    assert RunConfig.model_validate({**raw, "method": config.method}) == config
    (tmp_path / "s.yaml").write_text(yamlfile.write({"base": raw, "references": []}))
    said = run_bench(monkeypatch, capsys, "sweep", tmp_path / "s.yaml", "--results", tmp_path / "r", "--dry-run",
                     "--data", mini_data)  # fmt: skip
    assert said.code == 0 and "mini-mean-colour-s0" in said.out, said
    record = run(config, tmp_path / "results", mini_data, Runtime(device="cpu", threads=1))
    assert record and record.plugins == plugins.loaded()
    assert record.plugins["methods: mean-colour"].startswith("tiny-rows 0.1, code ")
    (module := tmp_path / "tiny-rows" / "tiny_training.py").write_text(f"{module.read_text()}# edited")
    plugins._now.cache_clear()
    plugins._fingerprint.cache_clear()
    assert plugins.changed(record.plugins) == ["methods: mean-colour"]
    assert record.run_config == config and list(record.scores) == ["eq6"]
    for change, words in (
        ({"power": "x"}, "test: method: power: input should be a valid number, given 'x'"),
        ({"pwer": 1.0}, r"test: method: unknown key 'pwer' \(did you mean 'power'\?\)"),
    ):
        with pytest.raises(BenchError, match=words):
            validate(RunConfig, {**raw, "method": {"name": "mean-colour", **change}}, "test")
    with pytest.raises(BenchError, match=r"unknown method 'mean-color' \(did you mean 'mean-colour'\?\)"):
        validate(RunConfig, {**raw, "method": {"name": "mean-color"}}, "test")


@pytest.mark.parametrize(
    ("group", "line", "text", "ask", "words"),
    [
        ("negatives", 'tiny = "tiny_x:f"', "import no_such_module", lambda: variant("tiny-imgn"),
         "package tiny-rows: 'tiny' of ood_bench.negatives is tiny_x:f: ModuleNotFoundError: No module named 'no_such"),
        ("negatives", 'tiny = "tiny_x:f"', "def g(): pass", lambda: variant("tiny-imgn"),
         "package tiny-rows: 'tiny' .* AttributeError"),
        ("negatives", 'tiny = "tiny_x:f"', "def f(images, numbers): pass", lambda: variant("tiny-imgn"),
         "package tiny-rows: 'tiny' of ood_bench.negatives is no function under @negative"),
        ("negatives", 'rot = "tiny_x:f"', "", lambda: variant("rot-imgn"),
         "package tiny-rows: its negatives name 'rot' is one of ood-bench itself"),
        ("negatives", 'pixperm = "tiny_x:f"', "", lambda: variant("pixperm-imgn"), "tiny-rows: its negatives name"),
        ("scores", 'tiny = "tiny_x:f"', "1/0", lambda: scores.parts("tiny"), "package tiny-rows: .* ZeroDivisionError"),
        ("scores", 'tiny = "tiny_x:f"', "class f: pass", lambda: scores.parts("tiny"),
         "'tiny' of ood_bench.scores is no class with `fit` and `score`"),
        ("scores", 'tiny = "tiny_x:f"', "class f:\n fit = score = None\n needs = {'teapot'}",
         lambda: scores.parts("tiny"), "whose `needs` are of logits, negatives, norm"),
        ("scores", 'knn = "tiny_x:f"', "", lambda: scores.parts("knn-5"), "package tiny-rows: its scores name 'knn'"),
        ("methods", 'tiny = "tiny_x:f"', "class f: pass", lambda: tiny(method={"name": "tiny"}),
         "'tiny' of ood_bench.methods is no MethodSettings with a `made_by`"),
        ("methods", 'dino = "tiny_x:f"', "", tiny, "package tiny-rows: its methods name 'dino' is one of ood-bench"),
    ],
)  # fmt: skip
def test_a_package_that_is_broken_or_takes_a_name_is_told_in_one_line(
    install: Install, group: str, line: str, text: str, ask: Callable[[], object], words: str
) -> None:
    install(declared("tiny-rows", **{group: line}), tiny_x=text)
    with pytest.raises(BenchError, match=words) as caught:
        ask()
    assert "\n" not in str(caught.value)
    if group == "negatives":
        assert variant("imgn") == VARIANTS["imgn"]  # whoever asks for nothing of it has no part in its faults
        with pytest.raises(BenchError, match="unknown variant 'imgm'"):
            variant("imgm")


def test_two_packages_of_one_name_are_refused(install: Install) -> None:
    for name in ("tiny-one", "tiny-two"):
        install(declared(name, negatives='tiny = "tiny_x:f"'))
    with pytest.raises(BenchError, match=r"packages tiny-(one and tiny-two|two and tiny-one): both add 'tiny'"):
        variant("tiny-imgn")


def test_a_negative_that_changes_shape_or_dtype_names_its_package(install: Install) -> None:
    code = """from benchmark.negatives import negative
@negative(label="T", before_colours=True, numbered=True, uniforms=2, check=lambda n, side: 1 // (n != side))
def f(images, numbers, n):
    return images[..., :n].float()
"""
    install(declared("tiny-rows", negatives='tiny = "tiny_x:f"'), tiny_x=code)
    made = draw_negative("tiny-4", 3, torch.Generator())
    assert made.numbers.shape == (3, 2) and made.numbers.dtype == torch.float64
    for side, dtype in ((8, torch.float32), (4, torch.uint8)):
        with pytest.raises(BenchError, match=r"package tiny-rows: the transform 'tiny-4' makes torch.float32"):
            made(torch.zeros(3, 3, side, side, dtype=dtype))
    with pytest.raises(ZeroDivisionError):  # asked with N and the side of the images when it is planned
        tiny(variant="tiny-32-imgn")
    tiny(variant="tiny-16-imgn")


def test_markers_of_variants_without_a_row_say_source_and_transform() -> None:
    perms = [style_of(f"perm-{n}-imgn") for n in (2, 8, 32, 64)]
    assert {colour for colour, _ in perms} == {STYLES["imgn"][0]} and len({shape for _, shape in perms}) > 1
    assert style_of("perm-8-imgn")[1] == style_of("perm-8-dti")[1] and style_of("perm-8-dti")[0] == STYLES["dti"][0]
    assert not {style_of(f"perm-{n}-{s}") for n in range(2, 40) for s in ("imgn", "dti", "in-dist")} & {
        *STYLES.values()} - {STYLES["perm-4-imgn"], STYLES["perm-16-imgn"]}  # fmt: skip
    assert style_of("some-method") == style_of("another")


def test_nothing_is_imported_before_it_is_asked_for(install: Install, tmp_path: Path) -> None:
    folder = install(declared("tiny-rows", negatives='tiny = "tiny_x:f"', scores='tiny = "tiny_x:f"',
                              methods='tiny = "tiny_x:f"'), tiny_x="raise SystemExit('imported')")  # fmt: skip
    code = (
        "import json, sys; from benchmark.plan import sweep; sweep.load('smoke'); print(json.dumps(list(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not {"tiny_x", "torch"} & set(json.loads(done.stdout))


def test_settings_of_ours_are_all_there_is_without_packages() -> None:
    assert isinstance(tiny().method, MethodSettings) and plugins.load("methods", "mean-colour") is None
    assert "plugins" not in __import__("benchmark.running.environment", fromlist=["x"]).environment(torch.device("cpu"))
