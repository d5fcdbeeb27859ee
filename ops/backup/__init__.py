"""What operators of the stack do from the host; needs docker and Python's standard library, no virtual environment."""
