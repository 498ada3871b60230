"""Small decoders with random weights, and what other implementations compute from them."""
