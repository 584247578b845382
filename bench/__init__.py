"""Measurements: one script a question, one table each in RESULTS.md."""
