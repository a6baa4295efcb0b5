"""What blocks and groups ask of a number of channels."""


def check_divides(name: str, number: int, **channels: int) -> None:
    """Refuse a number of blocks or groups that does not divide some channels.

    Args:
        name: the number's, for the message.
        number: of blocks or groups.
        channels: what it has to divide, by name.

    Raises:
        ValueError: it does not; the message names those that would.
    """
    if number >= 1 and all(count % number == 0 for count in channels.values()):
        return
    told = " and ".join(f"{what}={count}" for what, count in channels.items())
    fitting = [
        str(n)
        for n in range(1, min(channels.values()) + 1)
        if all(count % n == 0 for count in channels.values())
    ]
    raise ValueError(f"{name} must divide {told}, got {number}; take one of {', '.join(fitting)}")
