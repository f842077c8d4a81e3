"""What all steps of one run need, and the right to work on it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from benchmark.data.images import stored_fingerprint
from benchmark.errors import StillToDo
from benchmark.exits import explain_os, no_room
from benchmark.plan.config import RunConfig
from benchmark.provenance import source_commit
from benchmark.running.device import Runtime, room_on
from benchmark.running.environment import CODE
from benchmark.running.images import RunImages, load_images
from benchmark.running.processes import ALONE, Ranks
from benchmark.running.signals import StopFlag, stop_signals
from benchmark.running.status import Clock, Reporter
from benchmark.store.folders import RunFolder, Status, run_folder
from benchmark.store.leases import Lease, RunIsHeld, node_name


@dataclass(frozen=True)
class Context:
    """What all steps of one run need."""

    config: RunConfig
    run_id: str
    folder: RunFolder
    images: RunImages
    device: torch.device
    runtime: Runtime
    reporter: Reporter
    stop: StopFlag
    clock: Clock
    lease: Lease | None  # rank 0's
    features_from: list[str] = field(default_factory=list)  # the runs whose kept features it took over

    @property
    def ranks(self) -> Ranks:
        return self.runtime.ranks

    def alone(self) -> Context:
        """The same run for this process by itself, when the others that it trained with have gone."""
        return replace(self, runtime=replace(self.runtime, ranks=ALONE))

    def should_stop(self) -> bool:
        return self.stop.requested or (self.lease is not None and self.lease.lost)

    def check_lease(self) -> None:
        if self.lease is not None:
            self.lease.check()


@contextmanager
def claim_run(
    config: RunConfig, results: Path, images: RunImages, device: torch.device, runtime: Runtime
) -> Iterator[Context | RunFolder]:
    """The run for this process and the ranks it works with, until the block ends; its folder alone where it is done.

    Raises RunIsHeld when another process is on the run. Whatever the block raises is left in the run's status.json.
    """
    ranks, prints = runtime.ranks, images.fingerprints
    prints = {f"{name}/{split}": prints[f"{name}/{split}"] for name, split in config.training_sets()}
    run_id, folder = config.run_id(prints), run_folder(results, config, prints)
    with ranks.together(device), ExitStack() as held, _room_on_disk(folder):
        lease = _take_lease(folder, held, ranks)
        if ranks.from_main(lambda: _is_done(folder, config, images.fingerprints)):
            yield folder
            return
        images = _with_earlier(folder, images)
        config = images.config
        if ranks.is_main:
            folder.write_config(config)
            _note_attempt(folder)
        # The signals outermost: the second of a pair must not cut short what the reporter writes of the first.
        reporter = Reporter(folder, config, not ranks.is_main)
        with stop_signals() as stop, reporter, room_on(device), _room_on_disk():
            yield Context(config, run_id, folder, images, device, runtime, reporter, stop, Clock(), lease)


@contextmanager
def _room_on_disk(folder: RunFolder | None = None) -> Iterator[None]:
    """Turns a full disk into StillToDo, one line; it is left in the state of the run that has not begun to."""
    try:
        yield
    except OSError as error:
        if not no_room(error):
            raise
        if folder is not None:
            with suppress(OSError):
                folder.write_status(Status(state="interrupted", error=explain_os(error)))
        raise StillToDo(explain_os(error)) from error


def _take_lease(folder: RunFolder, held: ExitStack, ranks: Ranks) -> Lease | None:
    """Rank 0's lease on the run; what keeps it from having one, all ranks raise."""
    lease: Lease | None = None

    def take() -> str:
        nonlocal lease
        try:
            lease = held.enter_context(folder.hold())
        except RunIsHeld as error:
            return str(error)
        folder.remove_torn()
        return ""

    elsewhere = ranks.from_main(take)
    if elsewhere:
        raise RunIsHeld(elsewhere)
    return lease


def _is_done(folder: RunFolder, config: RunConfig, fingerprints: dict[str, str]) -> bool:
    done = folder.read_record()
    return done is not None and not done.lacks(config) and not done.changed(fingerprints)


def _with_earlier(folder: RunFolder, images: RunImages) -> RunImages:
    """The run's images with those that it has been scored on before, and its scores: two sweeps that share a run must
    not take each other's results away. Sets whose images are not the same any more are left behind, and it is said."""
    record, config = folder.read_record(), images.config
    if record is None:
        return images
    earlier = {name: config.ood_key(name) for name in record.own_score.ood if name not in config.ood_sets()}
    now = {key: stored_fingerprint(images.root, key) for key in earlier.values()}
    lost = set(record.changed(now))
    if names := [name for name, key in earlier.items() if key in lost]:
        print(f"note: earlier results on {', '.join(names)} go: these images are not here any more", flush=True)
    kept = [name for name, key in earlier.items() if key not in lost]
    more = config.with_more(kept, (name for name in record.scores if name != record.own))
    return load_images(more, images.root) if kept else replace(images, config=more)


def _note_attempt(folder: RunFolder) -> None:
    before, commit, status = folder.read_attempts(), source_commit(), folder.read_status()
    node = node_name()
    print(f"{time.strftime('%H:%M:%S')} start {len(before) + 1} on {node}, code {commit[:12]}", flush=True)
    if before and before[-1].get("commit") != commit:
        print(f"note: this run was begun with other code: {before[-1].get('commit')}, now {commit}", flush=True)
    folder.note_attempt(
        {
            "node": node,
            "pid": os.getpid(),
            "job": os.environ.get("SLURM_JOB_ID", ""),
            "restart": int(os.environ.get("SLURM_RESTART_COUNT", "0")),
            "commit": commit,
            "code": CODE,
            "step": status.step if status else 0,  # how far the attempt before said it was
        }
    )
