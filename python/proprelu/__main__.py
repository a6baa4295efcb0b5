"""``python -m proprelu``: the command line."""

from proprelu.cli import main

if __name__ == "__main__":
    main()
