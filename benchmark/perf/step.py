"""The speed of a training step: images a second, the share of each part, MFU, and memory."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmark import methods
from benchmark.errors import BenchError
from benchmark.methods.base import Batch, Method, Moment, Views
from benchmark.perf.measure import Laps, Spread, alternate, ceiling, ratio_text
from benchmark.plan.config import RunConfig
from benchmark.running.processes import ALONE
from benchmark.seeds import derive_seed
from benchmark.training.batches import Batches, DeviceImages
from benchmark.training.compiling import compiled
from benchmark.training.optimiser import make_optimiser, schedule
from benchmark.training.step import find_gradients, optimise
from benchmark.views.recipes import Block

IMAGES = 4096  # random images in memory: what they show changes no time
Tell = Callable[[str], None]


def noise_images(config: RunConfig) -> np.ndarray:
    """Random images (N, H, W, 3) uint8, N enough for a few batches."""
    count, size = max(IMAGES, 4 * config.train.batch), config.data.image_size
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def build(config: RunConfig, device: torch.device) -> Method:
    """The method of a run, as initialised: weights to begin from change no cost, and may be missing here. Raises
    BenchError where it trains nothing."""
    if not config.method.trains:
        raise BenchError(f"method.name: {config.method.name} trains nothing, so it has no step to time")
    torch.manual_seed(derive_seed(config.seed, "initialise"))
    return methods.build(config, device, begins=False)


class RenderedCopies(Batches):
    """The same batches where a rotated copy is not a rotated view, but a view of the rotated image, rendered too."""

    def _views(self, blocks: dict[str, Block], images: Tensor, *rest: Any, **named: Any) -> Views:
        once = {name: replace(block, four_rotations=False) for name, block in blocks.items()}
        turned = [super(RenderedCopies, self)._views(once, images.rot90(k, (2, 3)), *rest, **named) for k in range(4)]
        return {
            name: torch.cat([views[name] for views in turned]) if block.four_rotations else turned[0][name]
            for name, block in blocks.items()
        }


class OurSteps:
    """The training loop's own step, again and again."""

    def __init__(
        self, method: Method, images: np.ndarray, compile: bool = False, batches: type[Batches] = Batches
    ) -> None:
        self.method, self.config, self.compile = method, method.config, compile
        resident = DeviceImages(images, method.device)
        self.batches = batches(
            self.config, resident, dict.fromkeys(self.config.data.sources, resident), recipe=method.batch_recipe()
        )
        self.optimiser = make_optimiser(method, self.config.train)
        # The middle of a training: no frozen layer, no warm-up.
        epochs, inside = self.config.train.epochs, self.batches.steps_per_epoch
        self.moment = Moment(epochs // 2, epochs, epochs // 2 * inside, epochs * inside)
        method.modules().train()

    def turn(self) -> AbstractContextManager[None]:
        return compiled(self.method, self.compile)

    def run(self, steps: int, lap: Callable[[str], None]) -> None:
        self.method.lap = lap
        for number in range(steps):
            schedule(
                self.optimiser, self.config.train, self.batches.batch_size, self.batches.steps_per_epoch, self.moment
            )
            batch = self.batches.batch(0, number % self.batches.steps_per_epoch)
            lap("views")
            optimise(self.method, self.optimiser, batch, self.config.train, ALONE, self.moment)


def perf_step(
    config: RunConfig,
    device: torch.device,
    *,
    steps: int = 10,
    rounds: int = 5,
    warmup: int = 3,
    against: str | None = None,
    compile: bool = False,
    workers: int = 0,
    tell: Tell = print,
) -> dict[str, Any]:
    """Time `rounds` times `steps` steps, each time after `warmup` steps that are not counted.

    against: "reference", the plain recipe, "contiguous", our step with the networks' weights channels first, or
    "rendered", our step with each rotated copy of an image cropped and coloured by itself.
    The reference has float32 whatever the config's precision, and takes its turns with ours in this process. MFU is
    the share of the ceiling, at each one's own precision, that the networks' own FLOPs take; what the reference
    computes in vain is no use of the hardware. compile: time the step with compiled networks too, in turns as well;
    each shape is compiled in the first warm-up. On a GPU each one's peak memory is that of its turns, which the
    weights of the others are part of.
    Returns plain values, for JSON.
    """
    images = noise_images(config)
    ours = OurSteps(build(config, device), images)
    runners: dict[str, Any] = {"ours": ours}
    counts = {"ours": (warmup, steps)}
    if against == "contiguous":
        first = build(config, device)
        if all(weight.is_contiguous() for weight in first.modules().parameters()):
            raise BenchError(f"--against contiguous: is for networks of convolutions, given {config.model.backbone}")
        first.modules().to(memory_format=torch.contiguous_format)
        runners["contiguous"], counts["contiguous"] = OurSteps(first, images), counts["ours"]
    if against == "rendered":
        plain_copies = build(config, device)
        if not any(block.four_rotations for block in plain_copies.batch_recipe().positives.values()):
            raise BenchError(f"--against rendered: is for methods with rotated copies, given {config.method.label}")
        runners["rendered"] = OurSteps(plain_copies, images, batches=RenderedCopies)
        counts["rendered"] = counts["ours"]
    if compile:
        runners["compiled"] = OurSteps(build(config, device), images, compile=True)
        counts["compiled"] = (max(1, warmup), steps)
    if against == "reference":
        from benchmark.methods.dino import Dino
        from benchmark.perf.reference import PlainRecipe

        plain = build(config, device)
        if not isinstance(plain, Dino):
            raise BenchError(f"--against reference: is the plain recipe of dino, given method {config.method.name}")
        runners["reference"] = PlainRecipe(plain, images, ours.moment, workers)
        # Each worker is given a batch at the start of a turn, and they are done at about the same time: timing begins
        # when these are used up, and ends after as many batches of each.
        each = max(1, workers)
        counts["reference"] = (max(warmup, 2 * each), -(-steps // each) * each)
    laps = Laps(device)
    parts: dict[str, list[dict[str, float]]] = {name: [] for name in runners}
    flops = pair_flops(config)
    ceilings = dict.fromkeys(runners, ceiling(device, config.train.precision))
    if against == "reference":
        ceilings["reference"] = ceiling(device, "fp32")
    peaks = dict.fromkeys(runners, 0)

    def task(name: str) -> Callable[[], float]:
        def go() -> float:
            before, timed = counts[name]
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            with runners[name].turn():
                runners[name].run(before, lambda part: None)
                laps.start()
                runners[name].run(timed, laps)
                parts[name].append(laps.seconds())
            if device.type == "cuda":
                peaks[name] = max(peaks[name], torch.cuda.max_memory_allocated(device))
            return config.train.batch * timed / sum(parts[name][-1].values())

        return go

    spreads = alternate({name: task(name) for name in runners}, rounds, lambda line: tell(f"{line} pairs/s"))
    result: dict[str, Any] = {
        "batch": config.train.batch,
        "precision": config.train.precision,
        "gflop_per_pair": flops / 1e9,
        "ceiling_tflops": ceilings["ours"] / 1e12,
    }
    for name, spread in spreads.items():
        total = {part: sum(each[part] for each in parts[name]) for part in parts[name][0]}
        result[name] = {
            "pairs_per_second": spread.as_dict(),
            "shares": {part: seconds / sum(total.values()) for part, seconds in total.items()},
            "mfu": flops * spread.median / ceilings[name],
        }
        if device.type == "cuda":
            result[name]["peak_memory_bytes"] = peaks[name]
    if compile:
        result["compiled_ratio"] = spreads["compiled"].median / spreads["ours"].median
        result["compiled_ratio_text"] = ratio_text(spreads["compiled"], spreads["ours"])
    if against is not None:
        result["against"] = against
        result["ratio"] = spreads["ours"].median / spreads[against].median
        result["ratio_text"] = ratio_text(spreads["ours"], spreads[against])
    if against == "reference":
        result["reference"]["workers"] = workers
    return result


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What `perf_step` found, as lines of a table."""
    lines = []
    for name in ("ours", "contiguous", "rendered", "compiled", "reference"):
        if name in result:
            found = result[name]
            lines.append((f"{name}: pairs/s", str(Spread(**found["pairs_per_second"]))))
            lines += [(f"{name}: {part}", f"{100 * share:.1f} %") for part, share in found["shares"].items()]
            lines.append((f"{name}: MFU", f"{100 * found['mfu']:.1f} %"))
            if "peak_memory_bytes" in found:
                lines.append((f"{name}: peak memory", f"{found['peak_memory_bytes'] / 1e9:.2f} GB"))
    lines.append(("FLOPs a pair", f"{result['gflop_per_pair']:.3g} G"))
    lines.append((f"ceiling ({result['precision']} product)", f"{result['ceiling_tflops']:.3g} TFLOP/s"))
    if "counted_memory" in result:
        lines += [
            (f"counted memory: {name}", f"{size / 1e9:.2f} GB") for name, size in result["counted_memory"].items()
        ]
    if "compiled_ratio_text" in result:
        lines.append(("compiled / ours", result["compiled_ratio_text"]))
    if "ratio" in result:
        lines.append((f"ours / {result['against']}", result["ratio_text"]))
    return lines


# ---- Counting without computing ----------------------------------------------------------------------------------


def _pretended(config: RunConfig) -> tuple[FakeTensorMode, Method]:
    """A method whose tensors have shapes and no values, so that a step of any size takes no memory."""
    mode, real = FakeTensorMode(), build(config, torch.device("cpu"))
    with FakeCopyMode(mode):
        method: Method = copy.deepcopy(real)
    method.modules().train()
    return mode, method


def _pretended_step(config: RunConfig, method: Method, batch: int, negatives: int) -> None:
    """Forward and backward of a step in which each image has so many negatives; within the method's FakeTensorMode."""
    recipe = method.batch_recipe()

    def views(blocks: dict[str, Block]) -> Views:
        return {name: torch.empty(b.views * batch, 3, b.size, b.size) for name, b in blocks.items()}

    kinds = tuple(views(recipe.negatives) for _ in range(negatives))
    data = Batch(views(recipe.positives), kinds, torch.zeros(batch, dtype=torch.long))
    epochs = config.train.epochs
    find_gradients(method, data, config.train, Moment(epochs // 2, epochs, epochs // 2, epochs))


def step_flops(config: RunConfig) -> tuple[float, float]:
    """Floating-point operations of the networks' matrix products, counted: those of an image and of each negative."""
    mode, method = _pretended(config)
    images = 2

    def counted(negatives: int) -> float:
        # Attention written out as products, which the counter knows on every device.
        with mode, FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            _pretended_step(config, method, images, negatives)
        return counter.get_total_flops() / images

    alone = counted(0)
    return alone, counted(1) - alone if config.method.negatives else 0.0


def pair_flops(config: RunConfig) -> float:
    """The same of a pair: an image and all its negatives."""
    alone, negative = step_flops(config)
    return alone + negative * len(config.kinds())


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors made within it that are alive, and the most that ever were (`peak`)."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def freed() -> None:
            self._known.discard(key)
            self.live -= size

        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, freed)


def step_memory(config: RunConfig) -> dict[str, int]:
    """Bytes that a step needs in eager mode at the config's batch size and precision, counted tensor by tensor.

    weights: of all networks (student and teacher); optimiser: its moments; step: the most that a forward and backward
    pass holds beside those (views, activations, gradients). A device's allocator and libraries add to the sum.
    """
    mode, method = _pretended(config)
    with mode, LiveBytes() as bytes_:
        _pretended_step(config, method, config.train.batch, len(config.kinds()))
    trained = sum(p.numel() * p.element_size() for p in method.trainable())
    weights = sum(p.numel() * p.element_size() for p in method.modules().parameters())
    moments = 2 if config.train.optimiser == "adamw" else 1
    parts = {"weights": weights, "optimiser": moments * trained, "step": bytes_.peak}
    return {**parts, "all": sum(parts.values())}
