"""Words of reports that depend on a number."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """Such as `1 record` and `3,500 records`; `many` says the plural when it is more than an `s` at the end."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
