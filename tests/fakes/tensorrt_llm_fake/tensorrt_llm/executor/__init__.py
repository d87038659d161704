"""executor/."""
