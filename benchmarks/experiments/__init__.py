"""What experiments and changes of mind cost: routing, rollbacks and label moves, shadows."""
