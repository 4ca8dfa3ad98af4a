"""How much of this machine's device an extraction, a sweep and fine-tuning use, as one Markdown table each.

For every network (random weights, which cost the same): the device's own rate, the bare jitted network over batches
that lie on the device (the best of some sizes, float32 and bfloat16, compiling apart); what `featcache.extract` reaches
from JPEG files and from decoded arrays in memory, from the first fifth of the images to the last; their ratios, of
which 90 % is the goal; and where the seconds went, summed over threads. On a CPU the bare network runs once in a thread
for each core, and decoding shares the cores with it: there the ratio of JPEGs cannot reach 100 %. Then
`featcache.sweep` against the bare matrix products of the same heads, and the steps of fine-tuning against a bare jitted
train step with optax.

It ends by itself: each network has its share of ``--minutes``, each part its share of that, loops and extractions stop
when it is over, and parts that no time is left for are named. Only a compilation cannot be cut short.

Command: ``python benchmarks/accelerator.py [--minutes 8] [--networks NAME ...] [--json FILE] [--quick]``
"""

import argparse
import dataclasses
import datetime
import itertools
import json
import os
import platform
import statistics
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerator_parts import Budget, LeftOutError, Photos, decoded, extraction_rate, own_rate, timed

from featcache.errors import FeatcacheWarning

if TYPE_CHECKING:
    from featcache.backbones.loaded import LoadedBackbone
    from featcache.finetuning.setup import FineTuningSetup

NETWORKS = ("mobilenet_v2", "resnet50", "inception_v3", "vgg16", "vit_base_patch16_224")
QUICK_NETWORKS, QUICK_SIZE = ("resnet18",), 64
FEWEST, MOST = {"cpu": 16}, {"cpu": 512}
"""Images of an extraction; each is a file of some 60 kB."""
ACCELERATOR_FEWEST, ACCELERATOR_MOST = 2048, 8192
EXTRACTION_S = 8.0
GOAL = 0.9


# Heads and fine-tuning --------------------------------------------------------------------------------------------


def sweep_rate(*, quick: bool) -> dict[str, Any]:
    """Measure heads/s of `featcache.sweep` and of the bare products of the same sizes, compiling apart."""
    import heads
    import jax
    import solvers

    import featcache

    data = solvers.made_up(*((300, 60, 64) if quick else (2569, 550)))
    rates, decays = (4, 16) if quick else (16, 16)
    with tempfile.TemporaryDirectory() as folder:
        path = heads.stored(data, Path(folder) / "features.h5")

        def run(number: int) -> None:
            featcache.sweep(
                path,
                output=Path(folder) / str(number),
                head="linear",
                optimizer="adamw",
                learning_rate=f"1e-4:1e-1:log{rates}",
                weight_decay=f"1e-6:1e-1:log{decays}",
                epochs=heads.EPOCHS,
                patience=heads.EPOCHS,
                save_best=False,
                calibrate=False,
            )

        _, first = timed(lambda: run(0))
        _, ours = timed(lambda: run(1))
    with jax.default_matmul_precision("highest"):  # as heads are fitted
        bound = min(heads.turns(heads.products(data, rates * decays), rounds=3))
    count = rates * decays
    return {
        "heads": count,
        "rows": len(data.x),
        "features": data.x.shape[1],
        "first_s": first,
        "heads_per_s": count / ours,
        "bound_heads_per_s": count / bound,
        "ratio": bound / ours,
    }


def finetuning_rate(network: "LoadedBackbone", budget: Budget, images: int, *, rounds: int) -> dict[str, Any]:
    """Measure steps/s of an epoch from photos, as training does it, and of a bare jitted step."""
    import finetune

    import featcache

    batch = min(32, images // 4)
    with tempfile.TemporaryDirectory() as folder:
        source = Photos(Path(folder) / "photos").folder_of(images)
        cache = featcache.extract(source, backbone=network, output=Path(folder) / "features.h5", engine="jax")
        classifier = featcache.train_head(cache, output=None)
        task = finetune.task_of(classifier, cached=False, source=source, batch_size=batch)
        budget.require(0)
        epoch = finetune.epoch_of(task)
        _, compiling = timed(lambda: epoch(1))
        steps = -(-len(task.data.rows.train) // batch)
        budget.require(compiling)
        bare = bare_step(task, batch)
        timed(bare)  # compiles
        ours, theirs = [], []
        for number in range(rounds):
            ours.append(timed(lambda number=number: epoch(number + 2))[1])
            theirs.append(timed(lambda: [bare() for _ in range(steps)][-1])[1])
            if budget.left < ours[-1] + theirs[-1]:
                break
    own, bound = steps / statistics.median(ours), steps / statistics.median(theirs)
    return {"batch": batch, "steps_per_s": own, "bare_steps_per_s": bound, "ratio": own / bound}


def bare_step(task: "FineTuningSetup", batch: int) -> Callable[[], Any]:
    """Return a step as one would write it: cross-entropy and ``optax.adamw``, for photos that lie on the device."""
    import jax
    import jax.numpy as jnp
    import optax

    model = task.model
    values = jax.device_put(dict(model.values(task.head)))
    rates = task.phases[-1].rates
    trained = {name: values[name] for name in rates}
    fixed = {name: value for name, value in values.items() if name not in rates}
    shape = (batch, *model.transforms.input_size, 3)
    x = jax.device_put(np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8))
    y = jnp.arange(batch) % 2
    optimizer = optax.adamw(1e-6)

    def loss(trained: Any, fixed: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):  # as ours
            features, _ = model.features({**fixed, **trained}, model.pixels(x), after=None)
            return optax.softmax_cross_entropy_with_integer_labels(
                model.logits({**fixed, **trained}, features), y
            ).mean()

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(trained: Any, state: Any, fixed: Any, x: jax.Array, y: jax.Array) -> tuple[Any, Any, jax.Array]:
        value, gradients = jax.value_and_grad(loss)(trained, fixed, x, y)
        updates, state = optimizer.update(gradients, state, trained)
        return optax.apply_updates(trained, updates), state, value

    held = [jax.tree.map(jnp.copy, trained), optimizer.init(trained)]

    def run() -> jax.Array:
        held[0], held[1], value = step(held[0], held[1], fixed, x, y)
        return value

    return run


# The whole run ----------------------------------------------------------------------------------------------------


def measure(name: str, photos: Photos, budget: Budget, *, quick: bool) -> dict[str, Any]:
    """Measure a network as far as its time goes; what was left out is named in ``left_out``."""
    import jax

    from featcache.backbones import load

    backend = jax.default_backend()
    network = load(name, weights="random")
    if quick:
        small = network.transforms.with_size(QUICK_SIZE, QUICK_SIZE)
        network = dataclasses.replace(
            network, pretrained=dataclasses.replace(network.pretrained, transforms=small)
        )
    fewest, most = FEWEST.get(backend, ACCELERATOR_FEWEST), MOST.get(backend, ACCELERATOR_MOST)
    found: dict[str, Any] = {"network": name, "left_out": []}

    def attempt(part: str, needed: float, work: Callable[[], Any]) -> None:
        try:
            budget.require(needed)
            found[part] = work()
        except LeftOutError as error:
            found["left_out"].append(f"{part} ({error})")

    def extraction(dtype: str, rate: dict[str, Any], *, files: bool) -> dict[str, Any]:
        count = int(rate["images_per_s"] * min(EXTRACTION_S, budget.left / 6))
        count = fewest if quick else max(fewest, min(most, count))
        given: dict[str, Any] = {"images": decoded(count, network.transforms), "unlabelled": True}
        if files:
            given = {"dataset": photos.folder_of(count), "split": f"[:{count}]"}
        return extraction_rate(network, dtype, budget.share(0.5), **given)

    def own(dtype: str) -> None:
        compiling = found.get("own float32", {}).get("compile_s", 0.0)
        work = partial(own_rate, network, dtype, budget.share(0.3), quick=quick)
        attempt(f"own {dtype}", 1.5 * compiling, work)

    def extractions(dtype: str) -> None:
        for kind in ("JPEG", "arrays"):
            if rate := found.get(f"own {dtype}"):
                work = partial(extraction, dtype, rate, files=kind == "JPEG")
                attempt(f"{kind} {dtype}", 1.5 * rate["compile_s"], work)
            else:
                found["left_out"].append(f"{kind} {dtype} (no rate of the device's own)")

    def tuning() -> None:
        # A train step compiles some three times as long as the network, and ours and the bare one do.
        compiling = found.get("own float32", {}).get("compile_s", 0.0)
        images = 16 if quick else 64 if backend == "cpu" else 1024
        work = partial(finetuning_rate, network, budget, images, rounds=1 if quick else 5)
        attempt("fine-tuning", 6 * compiling + 2, work)

    own("float32")
    extractions("float32")
    # bfloat16 on a CPU is not what anyone would use: its own rate is enough, and that comes last.
    if backend == "cpu":
        tuning()
        own("bfloat16")
    else:
        own("bfloat16")
        extractions("bfloat16")
        tuning()
    return found


def machine() -> dict[str, Any]:
    """What this was measured on."""
    import jax

    from featcache.core.parallel import default_workers
    from featcache.core.processor import processor

    told = dict(line.split("=", 1) for line in processor().splitlines() if "=" in line)
    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.local_device_count(),
        "backend": jax.default_backend(),
        "jax": jax.__version__,
        "date": datetime.date.today().isoformat(),
        "cores": default_workers(),
        "processor": told.get("model name", platform.machine()),
        "load": os.getloadavg()[0],
    }


def run(networks: tuple[str, ...], minutes: float, *, quick: bool) -> dict[str, Any]:
    """Measure everything within the time; returns what ``--json`` writes."""
    budget = Budget(57 * minutes)  # seconds; the rest is for what cannot be cut short
    report: dict[str, Any] = {"machine": machine(), "networks": [], "left_out": []}
    report["sweep"] = sweep_rate(quick=quick)
    with tempfile.TemporaryDirectory() as folder:
        photos = Photos(Path(folder))
        for place, name in enumerate(networks):
            share = budget.share(1 / (len(networks) - place))
            found = measure(name, photos, share, quick=quick)
            if left_out := found.pop("left_out"):
                report["left_out"].append(f"{name}: {', '.join(left_out)}")
            report["networks"].append(found)
    report["machine"]["load after"] = os.getloadavg()[0]
    return report


# Tables -----------------------------------------------------------------------------------------------------------


def tables(report: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    at = report["machine"]
    several = f"{at['devices']} × " if at["devices"] > 1 else ""
    lines = [
        f"{several}{at['device']} ({at['processor']}, {at['cores']} cores), jax {at['jax']}, {at['date']}; load "
        f"{at['load']:.1f} before and {at['load after']:.1f} after."
        + (" In brackets: by processor time." if at["backend"] == "cpu" else ""),
        "",
        "| network | dtype | compiling | device, images/s (batch) | from JPEG | of the device | decode, network, write "
        "| from arrays | of the device |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for found, dtype in itertools.product(report["networks"], ("float32", "bfloat16")):
        own = found.get(f"own {dtype}")
        if own is None:
            continue
        cells = [found["network"], dtype, f"{own['compile_s']:.1f} s"]
        cells.append(f"{own['images_per_s']:.4g} ({own['batch']})")
        for kind in ("JPEG", "arrays"):
            rate = found.get(f"{kind} {dtype}")
            cells += [f"{rate['images_per_s']:.4g}", percent(rate, own)] if rate else ["", ""]
            if kind == "JPEG":
                cells.append(", ".join(f"{share:.0%}" for share in rate["shares"].values()) if rate else "")
        lines.append(f"| {' | '.join(cells)} |")
    if tuned := [found for found in report["networks"] if "fine-tuning" in found]:
        lines += ["", "| fine-tuning | batch | steps/s from photos | bare jitted step | of it |"]
        lines += ["| --- | --- | --- | --- | --- |"]
    for found in tuned:
        step = found["fine-tuning"]
        lines.append(
            f"| {found['network']} | {step['batch']} | {step['steps_per_s']:.3g} | {step['bare_steps_per_s']:.3g} "
            f"| {step['ratio']:.0%} |"
        )
    sweep = report["sweep"]
    lines += [
        "",
        f"Sweep of {sweep['heads']} heads, {sweep['rows']:,} rows of {sweep['features']:,} features: "
        f"{sweep['heads_per_s']:.4g} heads/s, the matrix products alone {sweep['bound_heads_per_s']:.4g}: "
        f"{sweep['ratio']:.0%} of the bound (the first time, with compiling, {sweep['first_s']:.1f} s).",
    ]
    notes = [
        f"{found['network']} {own['dtype']}: {own['note']}"
        for found in report["networks"]
        for own in (found.get("own float32"), found.get("own bfloat16"))
        if own and own["note"]
    ]
    if left := report["left_out"] + notes:
        lines += ["", f"Left out: {'; '.join(left)}."]
    return "\n".join(lines)


def percent(rate: dict[str, Any], own: dict[str, Any]) -> str:
    """Return the share of the device's own rate, bold where the goal is reached; on a CPU by processor time, too."""
    share = rate["images_per_s"] / own["images_per_s"]
    text = f"**{share:.0%}**" if share >= GOAL else f"{share:.0%}"
    return f"{text} ({own['cpu_ms'] / rate['cpu_ms']:.0%})" if own["cpu_ms"] else text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything")
    parser.add_argument("--networks", nargs="*", help=f"of all networks; by default {', '.join(NETWORKS)}")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="one small network, to see that everything runs")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=FeatcacheWarning)  # heads on random features say nothing
    networks = tuple(options.networks or (QUICK_NETWORKS if options.quick else NETWORKS))
    report = run(networks, options.minutes, quick=options.quick)
    print(tables(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
