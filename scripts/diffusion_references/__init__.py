"""Small diffusion models, and what other implementations compute with them."""
