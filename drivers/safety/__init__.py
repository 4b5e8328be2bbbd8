"""Safe outputs whatever happens to the process that drives them."""
