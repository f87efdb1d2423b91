"""What an open store hands out: mappings, sequences, arrays by position."""
