"""Pictures, report page, and short summaries of a run file."""
