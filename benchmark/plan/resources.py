"""What a run asks of a machine or a cluster, never part of its identity, and the site file that knows the cluster."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from benchmark.errors import BenchError, unknown
from benchmark.files import expanded
from benchmark.plan import yamlfile
from benchmark.plan.validation import Strict, validate

# sbatch options that the submission itself needs, and where to say what a user may mean by them.
TAKEN = {
    "array": "array_parallelism",
    "job-name": "nothing: the name is how a submission is found again",
    "output": "nothing: see `bench logs`",
    "error": "nothing: see `bench logs`",
    "open-mode": "nothing",
    "signal": "nothing: jobs are warned before their end",
    "time": "hours",
    "nodes": "nodes",
    "ntasks": "tasks",
    "ntasks-per-node": "tasks",
    "cpus-per-task": "cpus",
    "gpus-per-node": "gpus",
    "mem": "memory_gb",
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
}


class Resources(Strict):
    """What a run asks for. Numbers are those of one node."""

    gpus: Annotated[int, Field(ge=0)] = 1
    gpu_type: str | None = None  # as in --gpus-per-node=TYPE:N
    cpus: Annotated[int, Field(ge=1)] = 8  # cores of each process
    memory_gb: Annotated[float, Field(gt=0)] = 32.0
    hours: Annotated[float, Field(gt=0)] = 24.0
    nodes: Annotated[int, Field(ge=1)] = 1
    tasks: Annotated[int, Field(ge=1)] | None = None  # processes that share a run; None: one per GPU
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    array_parallelism: Annotated[int, Field(ge=1)] = 64
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: CUDA where `gpus` asks for one, and then it must be there
    setup: list[str] = []  # shell lines before the job: module load, conda activate
    sbatch: dict[str, str | int | bool] = {}  # any further sbatch option; true: a flag

    @field_validator("sbatch")
    @classmethod
    def _not_taken(cls, options: dict[str, Any]) -> dict[str, Any]:
        for key in options:
            plain = key.replace("_", "-").lstrip("-")
            if plain in TAKEN:
                raise ValueError(f"{key!r} is set by the benchmark; instead use {TAKEN[plain]}")
        return options

    @property
    def tasks_per_node(self) -> int:
        return self.tasks or max(1, self.gpus)

    def in_words(self) -> str:
        """As people say it: "2 nodes of 4 GPUs, 8 CPUs, 32 GB, 24 h, partition gpu"."""
        each = [f"{self.gpus} {f'{self.gpu_type} ' if self.gpu_type else ''}GPU{'s' * (self.gpus != 1)}"]
        if self.tasks_per_node > 1:
            each.append(f"{self.tasks_per_node} processes of {self.cpus} CPUs")
        else:
            each.append(f"{self.cpus} CPU{'s' * (self.cpus != 1)}")
        each.append(f"{self.memory_gb:g} GB")
        text = ", ".join(each)
        if self.nodes > 1:
            text = f"{self.nodes} nodes of {text}"
        text += f", {self.hours:.3g} h"
        for key in ("partition", "account", "qos", "constraint"):
            if getattr(self, key):
                text += f", {key} {getattr(self, key)}"
        return text


class Site(Strict):
    """The schema of a site file: what belongs to a cluster and not to the science.

    `defaults` hold where a sweep file says nothing, `always` whatever it says; `profiles` are named resources, which
    win key by key over a sweep file's profile of the same name.
    """

    defaults: dict[str, Any] = {}
    always: dict[str, Any] = {}
    profiles: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True)
class SiteFile:
    """A site and where it came from; None where there is no file."""

    site: Site
    path: Path | None = None


def load_site(path: Path | None) -> SiteFile:
    """The site file `path`, or else that of $BENCH_SITE, or else the user's own where there is one. Raises BenchError
    that names file and key."""
    if path is None and (named := os.environ.get("BENCH_SITE")):
        path = expanded(named)
    if path is None:
        try:
            path = expanded(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "ood-bench" / "site.yaml"
        except BenchError:  # a user without a home has no file of their own
            return SiteFile(Site())
        if not path.exists():
            return SiteFile(Site())
    site: Site = validate(Site, yamlfile.read(path), str(path))
    for key, values in (("defaults", site.defaults), ("always", site.always)):
        validate(Resources, {k: v for k, v in values.items() if k != "profile"}, str(path), key)
    for name, values in site.profiles.items():
        validate(Resources, values, str(path), f"profiles.{name}")
    return SiteFile(site, path)


def resolve(
    site: SiteFile,
    profiles: Mapping[str, Mapping[str, Any]],
    layers: Iterable[Mapping[str, Any]],
    source: str,
    submits: bool = True,
) -> Resources:
    """The resources of a run: the site's defaults, then `layers` (the sweep's own, its overrides), then `always`.

    A layer's `profile` stands for the keys of the profile of that name, below the layer's own keys. Profiles may be in
    a site file that only `bench sweep` is given: for commands that submit nothing, an unknown one stands for nothing.
    Raises BenchError; `source` is the sweep file.
    """
    known: dict[str, dict[str, Any]] = {name: dict(values) for name, values in profiles.items()}
    for name, values in site.site.profiles.items():
        known[name] = {**known.get(name, {}), **values}
    merged: dict[str, Any] = {}
    for layer in (site.site.defaults, *layers, site.site.always):
        profile = layer.get("profile")
        if profile is not None and not (isinstance(profile, str) and (profile in known or not submits)):
            where = f" or {site.path}" if site.path else ""
            raise BenchError(f"{source}{where}: resources.profile: {unknown('profile', profile, known)}")
        merged |= {**known.get(profile or "", {}), **{key: value for key, value in layer.items() if key != "profile"}}
    resources: Resources = validate(Resources, merged, source, "resources")
    return resources
