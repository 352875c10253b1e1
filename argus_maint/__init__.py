"""Operations for Django's task queue: jobs that keep it healthy, and proved runbooks."""

__version__ = "0.1.0"
