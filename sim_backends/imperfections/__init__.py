"""Imperfections that wrap any substrate: what real hardware does to what is written and read."""
