"""The command line: one file a command group, three lines a command over a library function.

Everything heavy is imported inside the commands, so that `factory --help` stays fast.
"""
