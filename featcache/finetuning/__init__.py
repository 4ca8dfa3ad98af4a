"""Fine-tuning: train the stages of a backbone after a cut, from images or from a cached map."""
