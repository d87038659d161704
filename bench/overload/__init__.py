"""``pennyweight bench overload``: what is left of a server's goodput when more comes than it can do."""
