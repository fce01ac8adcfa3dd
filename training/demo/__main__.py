"""`python -m training.demo`."""

from training.demo.story import main

if __name__ == "__main__":
    main()
