"""How good a learned router is."""
