"""Whatever gives a completion a number: reward models, functions, unit tests in a sandbox, entailment, and sums of them."""
