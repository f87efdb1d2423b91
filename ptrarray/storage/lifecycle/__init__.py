"""Whole stores: made, replaced, compacted, checked, packed."""
