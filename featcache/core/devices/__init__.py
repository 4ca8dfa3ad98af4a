"""The devices that JAX computes on: which are used, arrays on several of them, and what is odd about them."""
