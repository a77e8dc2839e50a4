"""Losses are counted by part and reason."""

from skydiver.base.losses import Losses, LossReason


def test_counts_add_up_by_part_and_reason() -> None:
    """Status and metrics show these numbers; a second loss must not replace the first."""
    losses = Losses()
    losses.add("hub.subscriber", LossReason.QUEUE_FULL, 2)
    losses.add("hub.subscriber", LossReason.QUEUE_FULL)
    losses.add("probe.netlink", LossReason.OVERRUN)
    assert losses.as_json() == {
        "hub.subscriber": {"queue_full": 3},
        "probe.netlink": {"overrun": 1},
    }


def test_zero_losses_leave_no_row() -> None:
    """A counter of zero would look like a place where something can go wrong."""
    losses = Losses()
    losses.add("hub", LossReason.WIRE, 0)
    assert losses.as_json() == {}
