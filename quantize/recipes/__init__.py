"""What drives each library. Imported in the process that quantises alone, and only the one that the recipe names."""
