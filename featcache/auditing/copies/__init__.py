"""Photos that are in the data more than once: candidates by their features, judged by the pictures, in clusters."""
