"""JAX functions as ONNX graphs: traced, written node by node, simplified; and the sessions that run them.

A function is traced by JAX itself, with a batch size that stays open, and each primitive of the trace becomes a node or
a few (`featcache.graphs.rules`). So no layer is described twice: what a network computes is said in its own code alone.
Whoever calls knows networks and heads; nothing here does.
"""
