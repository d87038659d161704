"""Recording what was asked and answered, so that it can be run again and compared to the bit."""
