"""The router: which model answers a request that leaves the choice, and which do when it can't."""
