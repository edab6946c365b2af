"""One exception for every argument that the caller can set right, to be told apart from a defect."""


class ArgumentError(ValueError):
    """An argument, option or file is wrong; the message says what was given, what is allowed and what to do.

    The experiments print its message as one line and end with status 2. Any other exception
    is a defect of the program and keeps its traceback.

    Example:
        >>> from jaxmlp.errors import ArgumentError
        >>> issubclass(ArgumentError, ValueError)
        True
    """
