"""What comes beyond what an engine can start on: kept in a short line by class, or refused at once. Engines around engines, as the cache is."""
