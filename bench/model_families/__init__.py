"""Families of models beside the rivals: our own programs and theirs, in turns, on the same weights."""
