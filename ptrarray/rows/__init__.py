"""Rows of arrays in memory: pointers, copies, ragged batches; numpy only."""
