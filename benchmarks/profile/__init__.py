"""What each kind of packet costs in the program: instructions, look-ups by map, and time."""
