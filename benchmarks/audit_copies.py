"""How many copies of photos an audit finds, and how long that takes: beside imagededup, and with many rows.

- ``photos``: of a dataset in folders, 100 photos are copied into another split, 20 each as they are, re-encoded at
  quality 60, resized by 10 %, cropped by 5 % of either side at a drawn place, and mirrored; three draws. Reported are
  the share found of each kind, by pictures and by the cached colours alone (the pictures gone); and the pairs that are
  not made, of which ``--sheet`` draws a sheet for somebody to look at: datasets hold copies of their own. The same
  files go through imagededup's PHash and DHash with its own threshold of 10 bits where a Python that has it is named.
- ``rows``: time and peak memory of made-up rows: mixtures of two photos of a class with noise, a thousandth of them
  copied with a little more; or, with ``--noise``, of equal strength in all directions, which is the worst case.

Command: ``python benchmarks/audit_copies.py photos FOLDER… [--cache CACHE…] [--draws 3] [--imagededup PYTHON]
[--sheet SHEET.png]`` and ``python benchmarks/audit_copies.py rows CACHE [--count 100000] [--noise]``.
"""

import argparse
import hashlib
import io
import json
import os
import resource
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import featcache
from featcache.auditing.copies.copies import find_copies
from featcache.auditing.looks import find_looks
from featcache.auditing.material import Audited
from featcache.auditing.ranked import RankedList
from featcache.cache import CacheWriter, FeatureCache, RowTable
from featcache.cache.layout import build_identity

KINDS = ("plain", "re-encoded", "resized", "cropped", "mirrored")
EACH = 20
Pair = frozenset[str]

_DEDUP = """
import json, sys, time
from imagededup.methods import DHash, PHash
found = {}
for method in (PHash, DHash):
    start = time.perf_counter()
    near = method(verbose=False).find_duplicates(image_dir=sys.argv[1], max_distance_threshold=10)
    pairs = {tuple(sorted((one, other))) for one, others in near.items() for other in others}
    found[method.__name__] = (time.perf_counter() - start, sorted(pairs))
print("RESULT" + json.dumps(found))
"""


def altered(data: bytes, kind: str, random: np.random.Generator) -> bytes:
    """Return a copy of a photo."""
    if kind == "plain":
        return data
    image = Image.open(io.BytesIO(data)).convert("RGB")
    wide, tall = image.size
    if kind == "resized":
        image = image.resize((round(0.9 * wide), round(0.9 * tall)), Image.Resampling.BICUBIC)
    if kind == "cropped":
        width, height = round(0.95 * wide), round(0.95 * tall)
        left, upper = (int(random.integers(0, more + 1)) for more in (wide - width, tall - height))
        image = image.crop((left, upper, left + width, upper + height))
    if kind == "mirrored":
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    written = io.BytesIO()
    image.save(written, "JPEG", quality=60 if kind == "re-encoded" else 95)
    return written.getvalue()


def with_copies(source: Path, target: Path, seed: int) -> dict[Pair, str]:
    """Link a dataset's photos, ``SPLIT/CLASS/PHOTO``, into a folder, add copies, and return the pairs."""
    files = sorted(path for path in source.glob("*/*/*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    splits = sorted({path.parts[-3] for path in files})
    for path in files:
        link = target / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(path.resolve(), link)
    random = np.random.default_rng(seed)
    made = {}
    for number, chosen in enumerate(random.permutation(len(files))[: EACH * len(KINDS)]):
        path, kind = files[chosen], KINDS[number // EACH]
        other = next(split for split in splits if split != path.parts[-3])
        copy = target / other / path.parts[-2] / f"copy{number:03d}.jpg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(altered(path.read_bytes(), kind, random))
        made[frozenset((str(copy.relative_to(target)), str(path.relative_to(source))))] = kind
    return made


def listed(found: RankedList, *, certain: bool = True) -> set[Pair]:
    """Return all pairs of the clusters that are certain, or of all."""
    pairs = set()
    for entry in found.entries:
        names = [entry.id, *(own.id for own in entry.resembles)]
        if entry.certain or not certain:
            pairs |= {frozenset((one, other)) for one in names for other in names if one != other}
    return pairs


def own_copies(pairs: Iterable[Pair], made: dict[Pair, str]) -> set[Pair]:
    """Return pairs that are not made, and not of a made copy and another copy of its photo."""
    names = {name for pair in made for name in pair if Path(name).name.startswith("copy")}
    return {pair for pair in pairs if not pair & names}


def dedup(python: str, folder: Path, flat: Path) -> dict[str, tuple[float, set[Pair]]]:
    """Run imagededup on the files of a folder, which it takes without folders, and return its pairs."""
    names = {}
    for number, path in enumerate(sorted(folder.glob("*/*/*"))):
        name = f"{number:06d}{path.suffix}"
        os.symlink(path.resolve(), flat / name)
        names[name] = str(path.relative_to(folder))
    ran = subprocess.run([python, "-c", _DEDUP, str(flat)], capture_output=True, text=True, check=True)
    found = json.loads(ran.stdout.split("RESULT")[1])
    return {
        method: (seconds, {frozenset(names[name] for name in pair) for pair in pairs})
        for method, (seconds, pairs) in found.items()
    }


def report(method: str, found: set[Pair], made: dict[Pair, str], seconds: float) -> set[Pair]:
    """Print one line of the table; returns the pairs that were not made."""
    shares = []
    for kind in KINDS:
        pairs = [pair for pair, own in made.items() if own == kind]
        shares.append(f"{kind} {sum(pair in found for pair in pairs)}/{len(pairs)}")
    own = own_copies(found, made)
    print(f"  {method:22} {', '.join(shares)}; {len(own)} pairs not made; {seconds:.1f} s", flush=True)
    return own


def photos(arguments: argparse.Namespace) -> None:
    """Make copies, look for them, and print a table."""
    seen: dict[Path, set[Pair]] = defaultdict(set)
    for source in arguments.inputs:
        for seed in range(arguments.draws):
            with tempfile.TemporaryDirectory() as place:
                folder, flat = Path(place) / "photos", Path(place) / "flat"
                flat.mkdir()
                made = with_copies(source, folder, seed)
                featcache.extract(f"folder:{folder}", output=f"{place}/a.h5", reuse=arguments.cache)
                rows = Audited(FeatureCache(f"{place}/a.h5"))
                print(f"{source.name}, draw {seed}: {len(rows)} photos")
                for method, pictures in (("pictures", True), ("colours", False)):
                    start = time.perf_counter()
                    found = find_copies(rows, pictures="found" if pictures else None)
                    seconds = time.perf_counter() - start
                    own = report(method, listed(found), made, seconds)
                    report(f"{method}, to look at", listed(found, certain=False), made, seconds)
                    seen[source] |= own if pictures else set()
                if arguments.imagededup:
                    for method, (seconds, pairs) in dedup(arguments.imagededup, folder, flat).items():
                        report(f"imagededup {method}", pairs, made, seconds)
    for source, pairs in seen.items():
        print(f"{source.name}: {len(pairs)} different pairs found that were not made")
        if arguments.sheet and pairs:
            sheet(source, sorted(sorted(pair) for pair in pairs), Path(arguments.sheet))


def sheet(source: Path, pairs: list[list[str]], path: Path, side: int = 150, across: int = 5) -> None:
    """Draw pairs side by side for somebody to look at."""
    image = Image.new("RGB", (across * (2 * side + 10), -(-len(pairs) // across) * (side + 14)), "white")
    draw = ImageDraw.Draw(image)
    for number, pair in enumerate(pairs):
        x, y = number % across * (2 * side + 10), number // across * (side + 14)
        draw.text((x, y), f"{number}", fill="black")
        for column, name in enumerate(pair):
            photo = Image.open(source / name).convert("RGB")
            photo.thumbnail((side - 2, side - 2))
            image.paste(photo, (x + column * side, y + 12))
    image.save(path.with_name(f"{path.stem}-{source.name}.png"))


def made_rows(
    cache: FeatureCache, count: int, *, noise: bool, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield labels, features and colours of made-up rows in blocks."""
    random = np.random.default_rng(seed)
    rows = cache.rows_of()
    x, colours = cache.features(rows, cache.layer()), cache.features(rows, "image:statistics")
    labels = cache.labels[rows]
    spread = x.std(axis=0)
    known: np.ndarray | None = None
    for start in range(0, count, 4096):
        size = min(4096, count - start)
        first = random.integers(0, len(rows), size)
        second = np.array([random.choice(np.flatnonzero(labels == label)) for label in labels[first]])
        part = random.uniform(0.2, 0.8, (size, 1)).astype(np.float32)
        if noise:
            made = random.standard_normal((size, x.shape[1]), np.float32)
        else:
            made = part * x[first] + (1 - part) * x[second]
            made += 0.5 * spread * random.standard_normal(made.shape, np.float32)
        own = part * colours[first] + (1 - part) * colours[second]
        own += 0.03 * random.standard_normal(own.shape, np.float32)
        if known is None:
            known = np.concatenate([made[:4], own[:4]], axis=1)
        copied = random.permutation(size)[: round(0.001 * size)]
        made[copied] = known[: len(copied), : x.shape[1]] * random.uniform(
            0.95, 1.05, (len(copied), x.shape[1])
        )
        own[copied] = known[: len(copied), x.shape[1] :]
        yield labels[first], made.astype(np.float32), own.astype(np.float32)


def made_cache(cache: FeatureCache, path: Path, count: int, *, noise: bool) -> FeatureCache:
    """Write a cache of made-up rows."""
    numbers = range(count)
    table = RowTable(
        ids=tuple(f"photo{number:07d}.jpg" for number in numbers),
        sha256=np.array([list(hashlib.sha256(b"%d" % number).digest()) for number in numbers], np.uint8),
        labels=np.arange(count, dtype=np.int32) % len(cache.classes),
        splits=(np.arange(count) % 5 == 0).astype(np.int16),
        sizes=np.zeros(count, np.int64),
        mtimes_ns=np.zeros(count, np.int64),
    )
    layers = {name: cache.layers[name] for name in (cache.layer(), "image:statistics")}
    identity = build_identity(
        recipe=cache.identity["recipe"],
        layers=layers,
        dataset={
            "spec": "made up",
            "classes": list(cache.classes),
            "splits": ["train", "test"],
            "rule": None,
        },
        rows=table,
        provenance={"backbone": "made up", "weights": None},
    )
    start = 0
    with CacheWriter.create(path, identity=identity, rows=table) as writer:
        for _, features, colours in made_rows(cache, count, noise=noise):
            written = {cache.layer(): features, "image:statistics": colours}
            writer.write(np.arange(start, start + len(features)), written)
            start += len(features)
        return writer.publish()


def measured(what: str, work: Callable[[], RankedList]) -> None:
    """Print the time and the peak memory of a child process that does the work."""
    child = os.fork()
    if not child:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start, cpu = time.perf_counter(), time.process_time()
        found = work()
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"  {what}: {wall:.1f} s ({cpu:.1f} s of processors), peak {peak / 1e6:.2f} GB ({before / 1e6:.2f} before)"
        )
        print(f"    {found.finding}\n    {found.figures}", flush=True)
        os._exit(0)
    os.waitpid(child, 0)


def rows(arguments: argparse.Namespace) -> None:
    """Make up rows and audit them."""
    with tempfile.TemporaryDirectory() as place:
        made = made_cache(
            FeatureCache(arguments.inputs[0]), Path(place) / "made.h5", arguments.count, noise=arguments.noise
        )
        seen = Audited(made)
        print(f"{len(seen)} made-up rows of {seen.width}")
        measured("copies", lambda: find_copies(seen))
        measured("looks", lambda: find_looks(seen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("photos", "rows"))
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("--cache", nargs="*", default=[])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--imagededup", metavar="PYTHON")
    parser.add_argument("--sheet")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--noise", action="store_true")
    arguments = parser.parse_args()
    {"photos": photos, "rows": rows}[arguments.what](arguments)


if __name__ == "__main__":
    main()
