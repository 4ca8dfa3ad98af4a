"""scikit-learn estimators: heads on features, and a backbone as a transformer of images.

Importing this package imports scikit-learn; JAX is imported by the first fit.
"""

from featcache.estimators.classification import HeadClassifier
from featcache.estimators.features import FeatureExtractor
from featcache.estimators.regression import HeadRegressor

__all__ = ["FeatureExtractor", "HeadClassifier", "HeadRegressor"]
