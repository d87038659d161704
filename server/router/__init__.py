"""Which tier answers a request."""
