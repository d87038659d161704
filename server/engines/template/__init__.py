"""The engine that gives one text to all: the end of a chain of models."""
