"""Names and hashes of many images as arrays, without a Python object of each."""
