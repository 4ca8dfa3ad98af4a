"""The files of a fine-tuning run: checkpoints, history, report, TensorBoard scalars."""
