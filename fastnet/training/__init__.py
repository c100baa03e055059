"""What the Solver is made of."""
