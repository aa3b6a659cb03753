"""python -m cflowtool: the command cflow."""

from cflowtool.cli.main import main

if __name__ == "__main__":
    main()
