"""Text from logs for people's eyes: nothing in it is hidden, steers a terminal, or turns the reading direction."""

_INVISIBLE = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_INVISIBLE |= dict.fromkeys([*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd")
_INVISIBLE |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def visible(text: str) -> str:
    """The text with control, direction and lone surrogate characters made visible; line breaks and tabs stay."""
    return text.translate(_INVISIBLE)
