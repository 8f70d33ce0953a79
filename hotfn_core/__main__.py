"""`python -m hotfn_core` is `hotfn`."""

from .cli import main

if __name__ == "__main__":
    main()
