"""What one host holds: the compiled form of the model, and how an answer is looked up in it."""
