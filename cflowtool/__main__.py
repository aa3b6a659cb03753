"""python -m cflowtool: the command cflow."""

from cflowtool.cli.start import main

if __name__ == "__main__":
    main()
