"""``python -m cloche``: the command line, wherever the package is."""

from cloche.cli.main import main

if __name__ == "__main__":
    main()
