"""Sentence encoders: models of BERT's family that turn a text into one vector, in a process of their own."""
