"""Which labels are probably wrong, of classes, several labels and numbers."""
