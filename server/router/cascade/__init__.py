"""The cascade: the weaker tier's answer is judged, and given or dropped for the stronger tier's."""
