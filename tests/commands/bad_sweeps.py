"""A sweep file that works, and what people get wrong in such files."""

from __future__ import annotations

SWEEP = """
title: Mine
base:
  eval: {ood: [other]}
  data: {sources: {imagenet: broad}}
grid:
  in_dist: [mine]
  variant: [dino, rot-imgn]
references: [image-statistics]
"""

# (what is wrong, the sweep file's text, arguments after it, what the line must name)
BAD_SWEEPS: list[tuple[str, str, list[str], list[str]]] = [
    ("misspelt key", SWEEP + "gird: {}\n", [], ["mine.yaml", "gird", "did you mean 'grid'"]),
    ("misspelt inner key", SWEEP.replace("data: {", "data: {train_limt: 3, "), [], ["train_limt", "train_limit"]),
    ("duplicate key", SWEEP + "title: again\n", [], ["mine.yaml:", "duplicate key 'title'"]),
    ("wrong type", SWEEP.replace("eval:", "train: {epochs: ten}\n  eval:"), [], ["train.epochs", "'ten'"]),
    ("number as text", SWEEP.replace("eval:", "train: {epochs: '3'}\n  eval:"), [], ["train.epochs", "'3'"]),
    ("broken YAML", "grid: [unclosed\n", [], ["mine.yaml:"]),
    ("no mapping", "- a\n- b\n", [], ["mine.yaml", "mapping"]),
    ("unknown variant", SWEEP.replace("rot-imgn", "rot-imgm"), [], ["rot-imgm", "did you mean 'rot-imgn'"]),
    ("patches that do not divide", SWEEP.replace("rot-imgn", "perm-7-imgn"), [], ["perm-7", "32x32"]),
    ("unknown image set", SWEEP.replace("other", "cifar11"), [], ["cifar11", "cifar10"]),
    ("unknown protocol", SWEEP.replace("eval:", "protocol: mine\n  eval:"), [], ["protocol", "'mine'"]),
    ("unknown method", SWEEP.replace("eval:", "method: {name: dinoo}\n  eval:"), [], ["dinoo", "dino"]),
    ("twice in the grid", SWEEP.replace("rot-imgn", "dino"), [], ["grid.variant", "twice"]),
    ("circle of files", SWEEP + "extends: mine.yaml\n", [], ["extends", "circle"]),
    ("missing parent", SWEEP + "extends: parent.yaml\n", [], ["parent.yaml", "no such file"]),
    ("unknown parent", SWEEP + "extends: tabel2\n", [], ["mine.yaml: extends", "unknown sweep 'tabel2'", "'table2'"]),
    (
        "value in place of a section",
        SWEEP.replace("base:", "base:\n  train: 1").replace("grid:", "grid:\n  train.lr: [1.0]"),
        [],
        ["mine.yaml: train.lr", "'train' is a value"],
    ),
    (
        "the same in an override",
        SWEEP + "overrides: [{when: {variant: dino}, set: {train: 1, train.lr: 1.0}}]\n",
        [],
        ["mine.yaml: overrides.0.set: train.lr", "'train' is a value"],
    ),
    (
        "a name that no set can have",
        SWEEP.replace("other", "../x"),
        [],
        ["mine.yaml: eval.ood", "image set name '../x'"],
    ),
    ("no OOD sets", SWEEP.replace("eval: {ood: [other]}", "eval: {}"), [], ["mine.yaml: eval.ood", "must be given"]),
    ("unknown resource", SWEEP + "resources: {gpu: 1}\n", [], ["gpu", "gpus"]),
    ("--only without a match", SWEEP, ["--only", "*nothing*"], ["--only *nothing*", "mine-rot-imgn-s0"]),
    ("--set without a value", SWEEP, ["--set", "train.epochs"], ["--set train.epochs", "FIELD=VALUE"]),
    ("--set of an unknown field", SWEEP, ["--set", "train.epoch=2"], ["epoch", "epochs"]),
    ("--set of a wrong type", SWEEP, ["--set", "train.epochs=many"], ["train.epochs", "'many'"]),
    ("unknown executor", SWEEP, ["--executor", "cloud"], ["--executor", "cloud", "slurm"]),
    ("--jobs 0", SWEEP, ["--jobs", "0"], ["--jobs"]),
    ("--results that is a file", SWEEP, ["--results", "mine.yaml"], ["--results", "mine.yaml' is a file"]),
    ("--data that is a file", SWEEP, ["--data", "mine.yaml"], ["--data", "mine.yaml' is a file"]),
    ("unknown option", SWEEP, ["--dryrun"], ["--dryrun"]),
    ("missing data", SWEEP.replace("other", "svhn"), [], ["svhn/test", "bench data prepare --for mine.yaml"]),
    ("missing data of one's own", SWEEP.replace("[mine]", "[cifar10]"), [], ["cifar10/train", "bench data"]),
]
