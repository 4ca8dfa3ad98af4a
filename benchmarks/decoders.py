"""Pillow beside another JPEG decoder: speed alone and with the resize, whether the pixels are equal, and Python's lock.

All times are the processor's, of one thread, so that what else the machine does hardly changes them; the decoders take
turns. simplejpeg (``pip install simplejpeg``) brings libjpeg-turbo along, as Pillow does; PyTurboJPEG calls the same
functions in a library of the system.

Command: ``python benchmarks/decoders.py --data ../shared/data/cats_vs_dogs [--rounds 9] [--threads]``
"""

import argparse
import io
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featcache.core.parallel import default_workers, ordered_map
from featcache.errors import ImageError
from featcache.images import decoding
from featcache.images.resizing import _fit, prepare
from featcache.images.transforms import Transforms

TRANSFORMS = Transforms(
    input_size=(224, 224),
    crop_pct=0.875,
    crop_mode="center",
    interpolation="bilinear",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
Decoder = Callable[[bytes], np.ndarray]


def contenders() -> tuple[dict[str, Decoder], dict[str, Decoder]]:
    """Decoders to an array, and to a network's input; the first of each is what featcache does."""
    import simplejpeg

    def fast(data: bytes, colours: str = "RGB") -> np.ndarray:
        return simplejpeg.decode_jpeg(data, colours, strict=True)

    def four_channels(data: bytes) -> np.ndarray:
        pixels = fast(data, "RGBX")  # a picture that Pillow need not copy
        image = Image.frombuffer("RGBX", pixels.shape[1::-1], pixels, "raw", "RGBX", 0, 1)
        return np.asarray(_fit(image, TRANSFORMS))[..., :3]

    arrays = {"Pillow": lambda data: decoding.read(data, exif="apply", rgb="white"), "simplejpeg": fast}
    inputs = {
        "Pillow": lambda data: prepare(data, TRANSFORMS),
        "simplejpeg, copied to a picture": lambda data: np.asarray(
            _fit(Image.fromarray(fast(data)), TRANSFORMS)
        ),
        "simplejpeg, four channels": four_channels,
    }
    return arrays, inputs


def compare(what: str, files: Sequence[bytes], decoders: dict[str, Decoder], rounds: int) -> None:
    """Print the processor's milliseconds for a file, and how many times as fast as the first decoder each is."""
    times: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(rounds):
        for name, decode in decoders.items():
            began = time.thread_time()
            for data in files:
                decode(data)
            times[name].append(1e3 * (time.thread_time() - began) / len(files))
    first = next(iter(times.values()))
    for name, own in times.items():
        ratio = statistics.median(a / b for a, b in zip(first, own, strict=True))
        print(f"{what:<32} {name:<32} {statistics.median(own):8.3f} ms  {ratio:5.2f}×", flush=True)


def encoded(data: bytes, size: tuple[int, int], **options: Any) -> bytes:
    """Return a photo at another size as a JPEG."""
    stream = io.BytesIO()
    picture = Image.open(io.BytesIO(data)).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    picture.save(stream, "JPEG", quality=92, **options)
    return stream.getvalue()


# Equal pixels -----------------------------------------------------------------------------------------------------


def verdict(data: bytes, fast: Decoder) -> str:
    """Compare the pixels of a file, or whether it is refused."""
    try:
        wanted = decoding.read(data, exif="ignore", rgb="white")
    except ImageError:
        wanted = None
    try:
        found = fast(data)
    except ValueError:
        return "refused by both" if wanted is None else "refused by simplejpeg only"
    if wanted is None:
        return "refused by Pillow only"
    return "equal" if np.array_equal(wanted, found) else "DIFFERENT"


def made_up(random: np.random.Generator) -> list[tuple[str, bytes]]:
    """Return JPEGs of every kind that Pillow writes, of all small sizes and all qualities."""

    def one(width: int, height: int, mode: str = "RGB", **options: Any) -> bytes:
        coarse = random.integers(0, 255, (-(-height // 8), -(-width // 8), 3)).repeat(8, 0).repeat(8, 1)
        noisy = coarse[:height, :width] + random.normal(0, 12, (height, width, 3))
        stream = io.BytesIO()
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).convert(mode).save(stream, "JPEG", **options)
        return stream.getvalue()

    found = []
    for progressive in (False, True):
        kind = "progressive" if progressive else "baseline"
        for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
            given = {"subsampling": subsampling, "progressive": progressive}
            sides = [(width, height) for width in range(1, 18) for height in range(1, 18)]
            found += [
                (f"{kind} {subsampling}, 1×1 to 17×17", one(*size, quality=85, **given)) for size in sides
            ]
            found += [
                (f"{kind} {subsampling}, quality 1–100", one(90, 70, quality=q, **given))
                for q in range(1, 101)
            ]
        for name, mode, more in (
            ("grey", "L", {}),
            ("CMYK", "CMYK", {}),
            ("restarts", "RGB", {"restart_marker_blocks": 3}),
        ):
            given = {"progressive": progressive, **more}
            found += [(f"{kind} {name}", one(60, 50, mode, quality=q, **given)) for q in range(1, 101, 3)]
    return found


def broken(files: Sequence[bytes], random: np.random.Generator) -> list[tuple[str, bytes]]:
    """Return files that end early, lack their last two bytes, have some more, or a flipped bit."""
    found = []
    for data in files:
        flipped = bytearray(data)
        flipped[random.integers(len(data) // 2, len(data) - 2)] ^= 1 << int(random.integers(8))
        end = int(random.integers(len(data) // 4, len(data) - 3))
        found += [("ends early", data[:end]), ("without end marker", data[:-2])]
        found += [("bytes after the end", data + bytes(50)), ("a flipped bit", bytes(flipped))]
    return found


# Python's lock ----------------------------------------------------------------------------------------------------


def held(files: Sequence[bytes], rounds: int) -> None:
    """Print what of preparing a photo is outside libjpeg and the resize, which let other threads run."""
    make, resize = Image._getdecoder, Image.Image.resize
    spent = {"decode": 0.0, "resize": 0.0}

    class Timed:
        def __init__(self, decoder: Any) -> None:
            self.decoder = decoder

        def __getattr__(self, name: str) -> Any:
            return getattr(self.decoder, name)

        def decode(self, data: bytes) -> Any:
            began = time.thread_time()
            result = self.decoder.decode(data)
            spent["decode"] += time.thread_time() - began
            return result

    def timed_resize(self: Image.Image, *given: Any, **more: Any) -> Image.Image:
        began = time.thread_time()
        result = resize(self, *given, **more)
        spent["resize"] += time.thread_time() - began
        return result

    Image._getdecoder = lambda *given: Timed(make(*given))
    Image.Image.resize = timed_resize
    try:
        began = time.thread_time()
        for _ in range(rounds):
            for data in files:
                prepare(data, TRANSFORMS)
        whole = time.thread_time() - began
    finally:
        Image._getdecoder, Image.Image.resize = make, resize
    each = {name: 1e3 * seconds / rounds / len(files) for name, seconds in spent.items()}
    rest = 1e3 * whole / rounds / len(files) - sum(each.values())
    print(
        f"of preparing a photo: {', '.join(f'{n} {ms:.3f} ms' for n, ms in each.items())}, the rest {rest:.3f} ms"
    )


THREADS = (1, 2, 3, 4, 8)


def threads(files: Sequence[bytes], rounds: int) -> None:
    """Print how many photos a second are prepared by pools of threads, which take turns; all seconds, so only idle."""
    rates: dict[int, list[float]] = {count: [] for count in THREADS}
    for _ in range(rounds):
        for count in THREADS:
            began = time.perf_counter()
            for _ in ordered_map(
                lambda data: prepare(data, TRANSFORMS), files, workers=count, ahead=64 + 2 * count
            ):
                pass
            rates[count].append(len(files) / (time.perf_counter() - began))
    two = rates[2]
    print(f"{default_workers()} cores, photos/s by threads (and to that of 2, by rounds):")
    for count, own in rates.items():
        ratio = statistics.median(a / b for a, b in zip(own, two, strict=True))
        print(f"  {count} threads {statistics.median(own):7.0f}  {ratio:5.2f}×", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of JPEGs")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", action="store_true", help="only how many threads decode fastest")
    options = parser.parse_args()
    files = [path.read_bytes() for path in sorted(options.data.rglob("*.jpg"))]
    some, random = files[::5][:200], np.random.default_rng(0)
    if options.threads:
        threads(files, options.rounds)
        return
    arrays, inputs = contenders()
    held(some, options.rounds)
    compare("photos, decoded alone", some, arrays, options.rounds)
    compare("photos", some, inputs, options.rounds)
    for size, count in (((1600, 1200), 20), ((4000, 3000), 4)):
        for progressive in (False, True):
            large = [encoded(data, size, progressive=progressive) for data in some[:count]]
            kind = "progressive" if progressive else "baseline"
            compare(f"{size[0]}×{size[1]}, {kind}", large, inputs, options.rounds)
    tally: dict[str, Counter[str]] = {}
    for kind, data in [*(("photos", data) for data in files), *made_up(random), *broken(some, random)]:
        tally.setdefault(kind, Counter())[verdict(data, arrays["simplejpeg"])] += 1
    for kind, counts in tally.items():
        print(f"{kind:<40} {', '.join(f'{count} {said}' for said, count in counts.items())}")


if __name__ == "__main__":
    main()
