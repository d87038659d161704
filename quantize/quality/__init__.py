"""The quality gate's measures: how far a quantised model's answers are from those of the model that it was made from.

``evaluation.evaluate`` is the way in. The models run in processes of their own (``scored_model``); here is no torch.
"""
