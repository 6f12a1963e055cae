"""`python -m walkers`: the same commands as `python -m jaxlik.fit`."""


def main() -> None:
    """Hand over to the command line of `jaxlik.fit`."""
    # Lazily: importing walkers must not pull in the whole command line.
    from jaxlik.fit.__main__ import main as fit_main

    raise SystemExit(fit_main())


if __name__ == "__main__":
    main()
