"""What this host offers of what pyrunc and a bundle need: `pyrunc doctor`.

A file a subject, each with a check() that looks and gives findings; it changes nothing, and what it tries it tries in
a child process or with a mount that nobody else sees. Loaded by that command alone.
"""
