"""Run a frozen image backbone once, keep its features, train heads in seconds.

This module exports the public names. Each is imported on first use, so that
``import featcache`` and ``featcache --help`` do not import JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from featcache.core.version import __version__

if TYPE_CHECKING:
    from featcache.auditing.audit import Audit, audit
    from featcache.backbones import load as load_backbone
    from featcache.cache import FeatureCache
    from featcache.checks.dataset import check_dataset
    from featcache.checks.dataset_report import DatasetCheck
    from featcache.classifier.classifier import Classifier
    from featcache.classifier.prediction import backbone_predictor
    from featcache.classifier.train_head import train_head
    from featcache.core.compilation_cache import enable_compilation_cache
    from featcache.core.devices.choice import use_device
    from featcache.datasets import Dataset, open_dataset
    from featcache.datasets.formats.arrays import open_arrays
    from featcache.errors import FeatcacheError, FeatcacheWarning
    from featcache.estimators import FeatureExtractor, HeadClassifier, HeadRegressor
    from featcache.explanations.channels import activations, filters
    from featcache.explanations.explain import explain
    from featcache.explanations.explanation import Explanation
    from featcache.exporting.export import export
    from featcache.exporting.result import ExportedModel
    from featcache.extraction.dry_run import PlanReport, plan_extraction
    from featcache.extraction.extract import extract
    from featcache.extraction.result import Extraction
    from featcache.finetuning.dry_run import plan_finetuning
    from featcache.finetuning.finetune import finetune
    from featcache.finetuning.result import FineTuning
    from featcache.images.demo_photos import demo_photos
    from featcache.images.transforms import Transforms
    from featcache.labelling.suggest import suggest
    from featcache.labelling.suggestions import Suggestions
    from featcache.reports.report import Report, report
    from featcache.retrieval.result import SimilarPhotos
    from featcache.retrieval.similar import similar
    from featcache.sweeps.results import SweepResult
    from featcache.sweeps.sweep import sweep

_HOMES = {
    "open_dataset": "featcache.datasets",
    "open_arrays": "featcache.datasets.formats.arrays",
    "Dataset": "featcache.datasets",
    "check_dataset": "featcache.checks.dataset",
    "DatasetCheck": "featcache.checks.dataset_report",
    "Transforms": "featcache.images.transforms",
    "demo_photos": "featcache.images.demo_photos",
    "load_backbone": "featcache.backbones:load",
    "plan_extraction": "featcache.extraction.dry_run",
    "PlanReport": "featcache.extraction.dry_run",
    "extract": "featcache.extraction.extract",
    "Extraction": "featcache.extraction.result",
    "FeatureCache": "featcache.cache",
    "train_head": "featcache.classifier.train_head",
    "sweep": "featcache.sweeps.sweep",
    "SweepResult": "featcache.sweeps.results",
    "plan_finetuning": "featcache.finetuning.dry_run",
    "finetune": "featcache.finetuning.finetune",
    "FineTuning": "featcache.finetuning.result",
    "Classifier": "featcache.classifier.classifier",
    "backbone_predictor": "featcache.classifier.prediction",
    "explain": "featcache.explanations.explain",
    "Explanation": "featcache.explanations.explanation",
    "activations": "featcache.explanations.channels",
    "filters": "featcache.explanations.channels",
    "export": "featcache.exporting.export",
    "ExportedModel": "featcache.exporting.result",
    "suggest": "featcache.labelling.suggest",
    "Suggestions": "featcache.labelling.suggestions",
    "report": "featcache.reports.report",
    "Report": "featcache.reports.report",
    "audit": "featcache.auditing.audit",
    "Audit": "featcache.auditing.audit",
    "similar": "featcache.retrieval.similar",
    "SimilarPhotos": "featcache.retrieval.result",
    "FeatureExtractor": "featcache.estimators",
    "HeadClassifier": "featcache.estimators",
    "HeadRegressor": "featcache.estimators",
    "enable_compilation_cache": "featcache.core.compilation_cache",
    "use_device": "featcache.core.devices.choice",
    "FeatcacheError": "featcache.errors",
    "FeatcacheWarning": "featcache.errors",
}

__all__ = [
    "Audit",
    "Classifier",
    "Dataset",
    "DatasetCheck",
    "Explanation",
    "ExportedModel",
    "Extraction",
    "FeatcacheError",
    "FeatcacheWarning",
    "FeatureCache",
    "FeatureExtractor",
    "FineTuning",
    "HeadClassifier",
    "HeadRegressor",
    "PlanReport",
    "Report",
    "SimilarPhotos",
    "Suggestions",
    "SweepResult",
    "Transforms",
    "__version__",
    "activations",
    "audit",
    "backbone_predictor",
    "check_dataset",
    "demo_photos",
    "enable_compilation_cache",
    "explain",
    "export",
    "extract",
    "filters",
    "finetune",
    "load_backbone",
    "open_arrays",
    "open_dataset",
    "plan_extraction",
    "plan_finetuning",
    "report",
    "similar",
    "suggest",
    "sweep",
    "train_head",
    "use_device",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'featcache' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted(__all__)
