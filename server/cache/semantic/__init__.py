"""Answers to what was asked before in other words, with a bound on how many of them may be wrong."""
