"""The mailbox: bounded, and each policy drops what it says."""

from __future__ import annotations

import threading

import pytest

from diffir_video import UsageError
from streams import Mailbox


@pytest.mark.parametrize(
    ("policy", "kept", "dropped"), [("newest", [3, 4], [1, 2]), ("oldest", [1, 2], [3, 4])]
)
def test_a_full_mailbox_drops_by_its_policy(policy, kept: list[int], dropped: list[int]) -> None:
    gone: list[int] = []
    mailbox = Mailbox[int](2, policy, on_drop=gone.append)
    for item in (1, 2, 3, 4):
        mailbox.put(item)
    assert [mailbox.get(0), mailbox.get(0), mailbox.get(0)] == [*kept, None]
    assert gone == dropped


def test_wait_lets_the_sender_wait_and_drops_nothing() -> None:
    mailbox, got = Mailbox[int](1, "wait"), list[int | None]()
    sender = threading.Thread(target=lambda: [mailbox.put(item) for item in range(50)])
    sender.start()
    got += [mailbox.get(5) for _ in range(50)]
    sender.join()
    assert got == list(range(50))


def test_a_closed_mailbox_gives_what_it_holds_and_lets_a_waiting_sender_go() -> None:
    mailbox = Mailbox[int](1, "wait")
    mailbox.put(1)
    sender = threading.Thread(target=mailbox.put, args=(2,))
    sender.start()
    mailbox.close()
    sender.join(5)
    assert not sender.is_alive()
    assert (mailbox.get(), mailbox.get()) == (1, None)


def test_a_closed_mailbox_takes_nothing_more() -> None:
    mailbox = Mailbox[int](2)
    mailbox.put(1)
    mailbox.close()
    mailbox.put(2)
    assert (mailbox.get(), mailbox.get()) == (1, None)


@pytest.mark.parametrize(("capacity", "policy"), [(0, "newest"), (2, "latest")])
def test_nonsense_is_refused(capacity: int, policy) -> None:
    with pytest.raises(UsageError):
        Mailbox[int](capacity, policy)
