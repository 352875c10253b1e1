"""The files of a scratch project, copied as they are (``drills.scratch``)."""
