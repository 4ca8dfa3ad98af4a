"""What a terminal is shown: tables, a confusion matrix, curves, live bars."""
