"""What a hundred million names cost on one machine, step by step, and beside LMDB."""
