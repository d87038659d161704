"""The engine that answers from the operator's FAQ documents, without a model."""
