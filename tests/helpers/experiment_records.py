"""What `records.write_record` of ``pipelines`` takes, small and complete."""

from typing import Any

import numpy as np
from records import Comparison

CONTENT: dict[str, Any] = {
    "title": "E0: nothing",
    "data": "photos",
    "images": 3,
    "small": False,
    "weights": {"mobilenet_v2.tv_in1k": "published (tv_in1k)"},
    "fingerprints": ["pool 00"],
    "seeds": [0, 1],
    "settings": {"epochs": 6},
    "comparisons": [
        Comparison("accuracy", 0.9, 0.894, (0.867, 0.92)),
        Comparison("ratio", None, 7.314, unit="x"),
    ],
    "result": {"accuracy": np.float32(0.5), "confusion": np.eye(2, dtype=int), "none": float("nan")},
    "seconds": {"extract": np.float64(1.26)},
}
