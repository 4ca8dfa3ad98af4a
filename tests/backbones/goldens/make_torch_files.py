"""Write the torch files of this folder, once, by hand: `python make_torch_files.py` (torch 2.14.1).

The values are (i - 3) / 8 for element i, which all floating types hold exactly, and integers 0, 1, 2, ….
"""

from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent


def values(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    count = torch.Size(shape).numel()
    return ((torch.arange(count, dtype=torch.float32) - 3) / 8).reshape(shape).to(dtype)


def state_dict() -> OrderedDict:
    shared = values(12)
    tensors = OrderedDict(
        {
            "float32": values(2, 3),
            "float16": values(2, 3, dtype=torch.float16),
            "bfloat16": values(2, 3, dtype=torch.bfloat16),
            "float64": values(2, 3, dtype=torch.float64),
            "int64": torch.arange(4),
            "scalar": torch.tensor(7),
            "uint8": torch.arange(4, dtype=torch.uint8),
            "bool": torch.tensor([True, False, True]),
            "empty": torch.zeros(0, 4),
            "transposed": values(2, 3).T,
            "slice": shared[4:8],
            "every_third": shared[::3],
            "parameter": torch.nn.Parameter(values(2, 3)),
        }
    )
    tensors._metadata = OrderedDict({"": {"version": 1}})  # what nn.Module.state_dict adds
    return tensors


if __name__ == "__main__":
    torch.save(state_dict(), HERE / "torch_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(state_dict(), HERE / "torch_zip.pth")
    torch.save({"state_dict": state_dict(), "epoch": 3}, HERE / "torch_protocol4.pth", pickle_protocol=4)
