"""Write lite0.json: what onnxruntime makes of four images by formula with EfficientNet-Lite0's ONNX anchor.

The anchor holds the same published weights, exported elsewhere and run by another engine, so that the tests
compare numbers with an implementation that shares no code with ours. Run by hand, with onnxruntime and the
anchor (`../shared/anchors/efficientnet_lite0.onnx` beside the repository, or a path):

    python tests/backbones/goldens/make_lite0_golden.py [ANCHOR.onnx]
"""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ANCHOR = HERE.parents[2].parent / "shared" / "anchors" / "efficientnet_lite0.onnx"


def images() -> np.ndarray:
    """Four pictures in integers only, so that every machine makes the same bytes: uint8[4, 224, 224, 3]."""
    n, y, x, c = np.ogrid[:4, :224, :224, :3]
    gradient = (y * (n + 1) * 40) // 224 + (x * (4 - n) * 30) // 224 + 25 * c
    disc = 70 * ((y - 112) ** 2 + (x - 60 - 30 * n) ** 2 < (40 + 10 * c) ** 2)
    stripes = np.abs((x * (n + 1) + 3 * y) % (20 + 8 * n) - 10) * 2
    return (gradient + disc + stripes).clip(0, 255).astype(np.uint8)


def main(anchor: Path) -> None:
    import onnxruntime

    # The published normalisation of the Lite networks, and the anchor's own layout (NCHW).
    x = ((images().astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(str(anchor), providers=["CPUExecutionProvider"])
    pool, logits = session.run(["pool", "logits"], {"x": x})
    # After ReLU6 most channels are 0 somewhere; these say most, and the norm stands for the rest.
    channels = sorted(np.argsort(-pool.min(axis=0))[:16].tolist())
    best = np.sort(logits, axis=1)
    golden = {
        "engine": f"onnxruntime {onnxruntime.__version__}",
        "channels": channels,
        "pool": pool[:, channels].astype(float).round(7).tolist(),
        "pool_norm": np.linalg.norm(pool.astype(float), axis=1).round(5).tolist(),
        "top1": logits.argmax(1).tolist(),
        "top1_logit": best[:, -1].astype(float).round(6).tolist(),
        "margin": (best[:, -1] - best[:, -2]).astype(float).round(4).tolist(),
    }
    path = HERE / "lite0.json"
    lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in golden.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{path}: margins {golden['margin']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ANCHOR)
