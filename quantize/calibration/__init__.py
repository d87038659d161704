"""Text to run through a model while it is quantised: read from files, or the sample that comes along."""
