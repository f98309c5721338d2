"""What is read: the tables, the state topics, and a reader of these for programs of others, `projections.follow`."""

from projections.follow import (
    CaughtUp,
    Following,
    ItemState,
    TopicPosition,
    TopicReplaced,
    Undecodable,
    UserState,
    Waiting,
    follow,
)

__all__ = [
    "CaughtUp",
    "Following",
    "ItemState",
    "TopicPosition",
    "TopicReplaced",
    "Undecodable",
    "UserState",
    "Waiting",
    "follow",
]
