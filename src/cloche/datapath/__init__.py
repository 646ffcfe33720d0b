"""The only part that touches the kernel: maps, programs, links and devices of one instance."""
