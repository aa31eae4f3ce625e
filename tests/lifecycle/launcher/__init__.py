"""The program itself: the launcher, and the image that it starts from."""
