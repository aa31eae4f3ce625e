"""pyrunc beside runc and crun, in one run, taking turns: `make bench`. See README.md."""
