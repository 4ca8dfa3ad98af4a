"""What an extraction has to do: images hashed, rows identified, caches to copy from found, and a plan of the rest."""
