"""Pictures of a classifier for notebooks: its confusion matrix, its predictions, its reliability."""
