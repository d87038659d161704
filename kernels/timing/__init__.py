"""How long each kernel takes, and how much it computes and moves: ``python -m pennyweight.kernels.timing`` prints JSON lines."""
