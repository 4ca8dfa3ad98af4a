"""Which rows train, validate and test: slices, stratified draws, folds."""
