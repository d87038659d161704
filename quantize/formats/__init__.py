"""How checkpoints keep quantised weights: each format is a file here, which brings a projection's tensors to one form."""
