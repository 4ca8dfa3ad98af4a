"""Files of datasets that TFDS prepared, read without TensorFlow."""
