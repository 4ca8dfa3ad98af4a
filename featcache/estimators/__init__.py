"""scikit-learn estimators: heads on features, and a backbone as a transformer of images.

Importing this package imports scikit-learn; JAX is imported by the first fit.
"""

from featcache.estimators.classifier import HeadClassifier
from featcache.estimators.extractor import FeatureExtractor
from featcache.estimators.regressor import HeadRegressor

__all__ = ["FeatureExtractor", "HeadClassifier", "HeadRegressor"]
