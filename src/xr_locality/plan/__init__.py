"""What will run where, which bytes cross, and what they cost: decided, not done."""
