"""Checks that blocks or groups divide the channels."""


def check_divides(name: str, number: int, **channels: int) -> None:
    """Check that a number of blocks or groups divides numbers of channels.

    Args:
        name: the name of the setting, for the message.
        number: the number of blocks or groups.
        channels: the numbers of channels, by name.

    Raises:
        ValueError: ``number`` does not divide them; the message lists the numbers that do.
    """
    if number >= 1 and all(count % number == 0 for count in channels.values()):
        return
    given = " and ".join(f"{what}={count}" for what, count in channels.items())
    divisors = [
        str(n)
        for n in range(1, min(channels.values()) + 1)
        if all(count % n == 0 for count in channels.values())
    ]
    raise ValueError(f"{name} must divide {given}, got {number}; use one of {', '.join(divisors)}")
