"""The readers of foreign bytes, the most exposed first."""

from collections.abc import Mapping

from ..reader import Reader
from . import archives, caches, classifiers, columns, documents, images, matlab, tables, weights

READERS: Mapping[str, Reader] = {
    reader.name: reader
    for module in (images, tables, archives, weights, caches, classifiers, matlab, documents, columns)
    for reader in module.READERS
}
