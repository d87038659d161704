"""The semantic cache over a stream of labelled pairs of questions."""
