"""The rivals on language models: each is installed or built once into the cache, and then only run."""
