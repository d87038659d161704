"""The response cache: whole answers, given again to whoever asks the same. The cache of keys and values is the engines' own."""
