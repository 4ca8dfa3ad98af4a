"""Models that run where featcache is not: one file, compared with JAX before it is written.

`featcache.exporting.export` holds the public function `featcache.export`.
"""
