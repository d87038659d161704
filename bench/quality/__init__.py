"""What stands around the quality gate's measures (quantize/quality): processes, speed and cost, tables."""
