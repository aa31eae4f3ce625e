"""Programs that build, install and check; none of them is a part of pyrunc."""
