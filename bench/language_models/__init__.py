"""Language models: our own programs and the rivals, in turns, on the same weights."""
