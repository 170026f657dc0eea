"""What nobody else may read, reach or overload."""
