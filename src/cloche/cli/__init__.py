"""The command line: questions about manifests, and everything one does with a running instance."""
