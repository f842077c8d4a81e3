"""What is brought along: which packages lack and what these need, wheels, images, and whether all of it fits."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import BenchError
from benchmark.kit import luggage
from benchmark.kit.__main__ import main


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three packages that need each other, beside what else there is."""
    for name, version, needs in (
        ("kit-a", "1.5", ["Kit_B>=1", "kit-c; python_version < '3.12'", "kit-never; extra == 'all'"]),
        ("kit-b", "2.0", ["kit-d; sys_platform == 'linux'", "kit-a"]),
        ("kit-c", "3.0", []),
        ("kit-d", "4.0", ["kit-not-there; sys_platform == 'win32'"]),
    ):
        folder = tmp_path / "site" / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {need}" for need in needs)]
        (folder / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def test_a_package_comes_with_all_that_it_needs_there(installed: None) -> None:
    assert luggage.with_needs(["kit-a"], "3.12") == ["kit-a==1.5", "kit-b==2.0", "kit-d==4.0"]
    assert luggage.with_needs(["kit-a"], "3.11") == ["kit-a==1.5", "kit-b==2.0", "kit-c==3.0", "kit-d==4.0"]
    with pytest.raises(BenchError, match="--lacking kit-unknown: is not installed here"):
        luggage.with_needs(["kit-unknown"], "3.12")


def test_what_pydantic_needs_is_named() -> None:
    """What a machine with torch, timm, pandas, rich and typer lacks."""
    named = [requirement.partition("==")[0] for requirement in luggage.with_needs(["pydantic"], "3.12")]
    assert {"pydantic", "pydantic-core", "annotated-types", "typing-inspection"} <= set(named)


def test_requirements_that_lack_are_named_less_what_only_slurm_needs(
    tmp_path: Path, installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"submitit"} == luggage.NOT_NEEDED
    monkeypatch.setattr(luggage, "NOT_NEEDED", {"kit-slurm"})
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\ndependencies = ["kit-a>=1", "kit-gone[x]>=2", "kit-slurm>=1", "kit-b"]\n')
    assert luggage.lacking(project) == ["kit-gone"]
    assert luggage.lacking(tmp_path / "none.toml") == []
    assert luggage.lacking(Path(__file__).parents[2] / "pyproject.toml") == []


def test_wheels_are_fetched_for_the_other_python_and_pips_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, len(asked) - 1, "", "note\nERROR: No matching distribution\nhint\n")

    monkeypatch.setattr(luggage.subprocess, "run", pip)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/old-1.whl").touch()
    luggage.fetch_wheels(["kit-a==1.5"], tmp_path / "wheels", "3.12", "x86_64")
    [command] = asked
    assert command[-1] == "kit-a==1.5" and {"--no-deps", "--only-binary=:all:", "--python-version=3.12"} <= {*command}
    assert "--platform=manylinux_2_17_x86_64" in command and not (tmp_path / "wheels/old-1.whl").exists()
    with pytest.raises(BenchError, match="cannot be fetched: ERROR: No matching distribution"):
        luggage.fetch_wheels(["kit-a==1.5"], tmp_path / "wheels", "3.12", "x86_64")


def test_wheels_unpacked_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    assert luggage.unpack_wheels(tmp_path / "wheels", tmp_path / "site") is None
    with zipfile.ZipFile(tmp_path / "wheels/kit_thing-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("kit_thing.py", "ANSWER = 42\n")
    site = luggage.unpack_wheels(tmp_path / "wheels", tmp_path / "site")
    answer = [sys.executable, "-S", "-c", "import kit_thing; print(kit_thing.ANSWER)"]
    done = subprocess.run(answer, env={"PYTHONPATH": str(site)}, capture_output=True, text=True)
    assert done.stdout == "42\n"
    (tmp_path / "wheels/broken.whl").write_text("no zip")
    with pytest.raises(BenchError, match=r"broken\.whl: not a readable wheel"):
        luggage.unpack_wheels(tmp_path / "wheels", tmp_path / "site")


def test_sizes_are_of_what_git_would_send_and_of_the_luggage(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / ".kit/images").mkdir(parents=True)
    (repository / ".kit/wheels").mkdir()
    for name, size in (("kept", 100), ("new", 20), ("ignored", 5000), (".kit/images/a.npz", 300)):
        (repository / name).write_bytes(bytes(size))
    (repository / ".gitignore").write_text("ignored\n")
    for words in (["init", "-q"], ["add", "kept", ".gitignore"]):
        subprocess.run(["git", "-C", str(repository), *words], check=True)
    found = luggage.sizes(repository, repository / ".kit")
    assert found == {"repository": 100 + 20 + 8, "images": 300, "wheels": 0}
    luggage.check_sizes({"images": 60 * luggage.MIB, "wheels": 4 * luggage.MIB}, 64)
    with pytest.raises(BenchError, match=r"^64\.5 MiB to carry, of which images 60\.0; at most 64 \(--carry\)"):
        luggage.check_sizes({"images": 60 * luggage.MIB, "wheels": 9 * luggage.MIB // 2}, 64)


def test_bring_takes_the_sweeps_images_alone_and_refuses_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The images of sweeps/half-hour.yaml, here of a few bytes each."""
    images, to = tmp_path / "images", tmp_path / "kit"
    images.mkdir()
    oods = ["cifar100", "svhn", "imagenet30", "tinyimagenet", "lsunlike", "stl10-unlabeled", "places365", "texture"]
    wanted = ["cifar10-train", "cifar10-test", "imagenet-aux", "dti-aux", *(f"{name}-test" for name in oods)]
    for name in [*wanted, "cifar100-train"]:
        np.savez(images / f"{name}.npz", images=np.zeros((4, 32, 32, 3), np.uint8), labels=np.zeros(4))
    (images / "classes.json").write_text("{}")
    fetched: list[Any] = []
    monkeypatch.setattr(luggage, "fetch_wheels", lambda *what: (fetched.append(what), what[1].mkdir(exist_ok=True)))
    room = ["--carry", "500"]  # whatever the repository holds by now
    assert main(["bring", str(images), "--to", str(to), *room]) == 0
    taken = {path.name for path in (to / "images").iterdir()}
    assert taken == {*(f"{name}.sheets" for name in wanted), "classes.json"}
    requirements, folder, python, machine = fetched[0]
    assert folder == to / "wheels" and (python, machine) == ("3.12", "x86_64")
    assert any(requirement.startswith("pydantic-core==") for requirement in requirements)
    said = capsys.readouterr().out
    assert "packing 12 sets of images" in said and "images             0.0 MiB" in said and "of 500" in said
    assert main(["bring", str(images), "--to", str(to), "--carry", "1"]) == 2
    refused = capsys.readouterr().err
    assert "MiB to carry" in refused and "git sparse-checkout set --no-cone '/*' '!/results/reference/'" in refused
    (images / "svhn-test.npz").unlink()
    assert main(["bring", str(images), "--to", str(to), *room]) == 2
    assert "unknown image set 'svhn-test'" in capsys.readouterr().err
