"""Pictures of single steps: is it to be trusted? Pure functions of what a step has stored."""
