"""Small sentence encoders with random weights and the vectors that PyTorch computes with them."""
