"""Someone's folders: which is what."""

from __future__ import annotations

from pathlib import Path

from own_pictures import fails, pictures, save

from benchmark.own.layout import free_name, layout, slug


def test_layout_by_names(folder: Path) -> None:
    (folder / "notes").mkdir()
    save(folder / "other", pictures(2))
    found = layout(folder, "mine")
    assert [(s.title, s.role, s.name, len(s.files)) for s in found.sources] == [
        ("in", "id", "mine", 60), ("aux", "aux", "mine-aux", 40),
        ("ood/Far Away", "ood", "mine-far-away", 20), ("ood/near", "ood", "mine-near", 20),
    ]  # fmt: skip
    assert found.unused == ("other/ (2 images)",)


def test_layout_by_options_and_loose_images(folder: Path, tmp_path: Path) -> None:
    found = layout(folder, "x", in_dist="aux", auxiliary="in/a", ood=["ood"])
    assert [(s.role, len(s.files)) for s in found.sources] == [("id", 40), ("aux", 30), ("ood", 40)]
    everything = layout(folder, "x", in_dist=".")
    assert len(everything.in_dist.files) == 60 and everything.unused == ()  # less aux and ood
    save(tmp_path / "flat", pictures(3))
    save(tmp_path / "flat" / "ood", pictures(2))  # loose in ood/: one set
    flat = layout(tmp_path / "flat", "flat")
    assert (len(flat.in_dist.files), flat.auxiliary) == (3, None)
    assert [(s.title, s.name, len(s.files)) for s in flat.ood] == [("ood", "flat-ood", 2)]


def test_layout_says_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "classes" / "cats", pictures(1))
    assert "no in-distribution images" in (said := fails(lambda: layout(tmp_path / "classes", "x")))
    assert "--in-dist" in said and "folders in it: cats" in said
    assert "--ood no" in fails(lambda: layout(folder, "x", ood=["no"]))
    assert "no such folder" in fails(lambda: layout(tmp_path / "nowhere", "x"))
    (folder / "empty").mkdir()
    assert "no image files" in fails(lambda: layout(folder, "x", auxiliary="empty"))
    save(folder / "ood" / "Near", pictures(1))
    assert "both be stored as 'x-near'" in fails(lambda: layout(folder, "x"))


def test_names_for_sets() -> None:
    assert slug("Stone Walls (2)") == "stone-walls-2" and slug("Ünï") == "uni"
    assert free_name(Path("a/CIFAR10")) == "my-cifar10" and free_name(Path("a/Pets")) == "pets"
