"""How far the same request gives the same bits, whatever goes on beside it, and what that costs."""
