"""`python -m recsys.cli`."""

from recsys.cli.main import main

if __name__ == "__main__":
    main()
