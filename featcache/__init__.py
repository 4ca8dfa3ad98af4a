"""Run a frozen image backbone once, keep its features, train heads in seconds.

The public names, in the order the data flows; each is imported when it is first used, so that
``import featcache`` and ``featcache --help`` do not import JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from featcache.backbones import load as load_backbone
    from featcache.cache import FeatureCache
    from featcache.classifier import Classifier
    from featcache.dataset_check import check_dataset
    from featcache.dataset_facts import DatasetCheck
    from featcache.dry_run import PlanReport, plan_extraction
    from featcache.errors import FeatcacheError
    from featcache.estimators import FeatureExtractor, HeadClassifier, HeadRegressor
    from featcache.extraction import Extraction, extract
    from featcache.finetuning import finetune
    from featcache.sources import Dataset, open_dataset
    from featcache.sources.arrays import open_arrays
    from featcache.sweep_results import SweepResult
    from featcache.sweeping import sweep
    from featcache.trainer import train_head
    from featcache.transforms import Transforms
    from featcache.tuning.outcome import FineTuning
    from featcache.tuning.savings import plan_finetuning

_HOMES = {
    "open_dataset": "featcache.sources",
    "open_arrays": "featcache.sources.arrays",
    "Dataset": "featcache.sources",
    "check_dataset": "featcache.dataset_check",
    "DatasetCheck": "featcache.dataset_facts",
    "Transforms": "featcache.transforms",
    "load_backbone": "featcache.backbones:load",
    "plan_extraction": "featcache.dry_run",
    "PlanReport": "featcache.dry_run",
    "extract": "featcache.extraction",
    "Extraction": "featcache.extraction",
    "FeatureCache": "featcache.cache",
    "train_head": "featcache.trainer",
    "sweep": "featcache.sweeping",
    "SweepResult": "featcache.sweep_results",
    "plan_finetuning": "featcache.tuning.savings",
    "finetune": "featcache.finetuning",
    "FineTuning": "featcache.tuning.outcome",
    "Classifier": "featcache.classifier",
    "FeatureExtractor": "featcache.estimators",
    "HeadClassifier": "featcache.estimators",
    "HeadRegressor": "featcache.estimators",
    "FeatcacheError": "featcache.errors",
}

__all__ = [
    "Classifier",
    "Dataset",
    "DatasetCheck",
    "Extraction",
    "FeatcacheError",
    "FeatureCache",
    "FeatureExtractor",
    "FineTuning",
    "HeadClassifier",
    "HeadRegressor",
    "PlanReport",
    "SweepResult",
    "Transforms",
    "__version__",
    "check_dataset",
    "extract",
    "finetune",
    "load_backbone",
    "open_arrays",
    "open_dataset",
    "plan_extraction",
    "plan_finetuning",
    "sweep",
    "train_head",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'featcache' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted(__all__)
