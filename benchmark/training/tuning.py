"""Training that goes on from a finished run's weights."""

from __future__ import annotations

import safetensors.torch

from benchmark.errors import BenchError, StillToDo, first_line
from benchmark.methods.base import Method
from benchmark.plan.starts import RECIPE, misfit
from benchmark.running.context import Context
from benchmark.store.folders import RunFolder, runs_by_recipe, trained_on


def begin_from(method: Method, run: Context) -> None:
    """Give `method` the weights of the run that it goes on from; nothing where it begins anew.

    Raises BenchError, one line, when that run is not in the results, failed, without its weights, or of other images,
    another network or other classes; StillToDo when it is unfinished, and so may be finished yet.
    """
    recipe = run.config.method.starts_from
    if recipe is None:
        return
    folder = _find(recipe, run)
    try:
        method.load_final_state(safetensors.torch.load_file(folder.weights, device=str(run.device)))
    except Exception as error:
        raise BenchError(f"{folder.weights}: broken weights ({first_line(error)})") from error
    run.reporter.say(f"goes on from {folder.name}")


def _find(recipe: str, run: Context) -> RunFolder:
    results = run.folder.path.parent
    if not RECIPE.fullmatch(recipe):
        raise BenchError(
            f"method.tune: {recipe} names a run of a sweep; a run on its own needs the recipe_id of a finished run, "
            "which is in its record.json"
        )
    found = runs_by_recipe(results).get(recipe, [])
    if not found:
        raise BenchError(f"method.tune: no run of recipe {recipe[:8]} in {results}; train it first")
    key = run.config.train_key
    prints = run.images.fingerprints[key]
    records = [(folder, record) for folder in found if (record := folder.read_record())]
    if not records:
        status = found[-1].read_status()
        kind = BenchError if status is not None and status.state == "failed" else StillToDo
        raise kind(f"method.tune: {found[-1].path} is not finished; train it first: bench run {found[-1].config}")
    newest, record = records[-1]
    if why := misfit(run.config, record.run_config):  # which is the same of all, as their recipe is
        raise BenchError(f"method.tune: {newest.path} does not fit: {why}")
    same = trained_on(found, key, prints)
    if not same:
        raise BenchError(f"method.tune: {newest.path} was trained on other images of {run.config.in_dist}")
    usable = [folder for folder in same if folder.weights.exists()]
    if not usable:
        raise BenchError(f"method.tune: {same[-1].weights_are_gone}")
    return usable[-1]
