"""Placeholder of the help texts."""


def application(program: str) -> str:
    return program + ": help follows\n"


def command(program: str, name: str) -> str:
    return program + " " + name + ": help follows\n"


def version(program: str) -> str:
    return program + " version 0.1.0\n"
