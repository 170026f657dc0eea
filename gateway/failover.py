"""Where a message goes: its lane, and the partition of that lane's topics in which it waits.

Asked by intake for a new message, and again for one that is queued on a lane that is down or whose provider says that another
should have it. The answer is the same in every process that sees the same lanes down.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from gateway.carrier import AnyLane
from gateway.config import Kafka
from gateway.fair import queue_of
from gateway.model import Message, TrafficClass
from gateway.outbox import partition_of
from gateway.routing import Choice, Router, pick
from gateway.whatsapp_lane_config import WhatsAppLane

Address = tuple[str, int]
"""Topic and partition."""


def topic_of(kafka: Kafka, lane: AnyLane, class_: str, tenant: str) -> str:
    """Return the topic in which a tenant's messages of a class wait for a lane."""
    return kafka.lane_topic(lane.name, class_, queue_of(tenant, lane.fair_queues))  # type: ignore[arg-type]


def admits(lane: AnyLane, purpose: str) -> bool:
    """Whether messages for such a purpose may go over a lane: Meta forbids collections, and blocks accounts for them.

    Whoever else carries them to WhatsApp, a lane of its own provider is the only one that can say that they are allowed.
    """
    if purpose != "third_party_collection" or lane.channel != "whatsapp":
        return True
    return isinstance(lane, WhatsAppLane) and lane.allow_collections


class Failover:
    """The routes of a configuration, applied to messages on their way; `down` is replaced as lanes go down and come back."""

    def __init__(self, kafka: Kafka, lanes: Mapping[str, AnyLane], router: Router) -> None:
        self._kafka = kafka
        self._lanes = lanes
        self.router = router
        self.down: Collection[str] = frozenset()

    def configure(self, lanes: Mapping[str, AnyLane], router: Router) -> None:
        """Go on with other routes."""
        self._lanes = lanes
        self.router = router

    def next_lane(self, message: Message, lane: str) -> str:
        """Return the lane that should have a message that waits on `lane` and cannot go there, or an empty text for none."""
        choice = self._choice(message, message.to, message.channel, message.sender)
        if choice is None:
            return ""
        return (
            pick(choice, message.to, self.down, {*message.tried, lane, *self.forbidden(choice, message.purpose)}) or ""
        )

    def next_step(self, message: Message) -> tuple[int, str] | None:
        """Return the next step of a message's plan that has a route, from 0, and its lane; None when nothing is left."""
        for index, step in enumerate(message.plan):
            # Behind a step over mail the message has an address; a step over mail has no number.
            to = step.to if step.to and step.channel != "email" else message.to
            choice = self._choice(message, to, step.channel, step.sender)
            if choice is None:
                continue
            forbidden = self.forbidden(choice, message.purpose)
            allowed = [lane for lane in choice.lanes if lane not in forbidden]
            if allowed:
                return index, pick(choice, to, self.down, forbidden) or allowed[0]
        return None

    def forbidden(self, choice: Choice, purpose: str) -> list[str]:
        """Lanes of a choice that must not carry a message for what it is for."""
        if not purpose:
            return []
        return [lane for lane in choice.lanes if not admits(self._lanes[lane], purpose)]

    def _choice(self, message: Message, to: str, channel: str, sender: str) -> Choice | None:
        choices = self.router.choices(channel, message.class_, message.tenant, sender)
        return choices(to, message.operator)

    def knows(self, lane: str) -> bool:
        """Whether the configuration still has a lane."""
        return lane in self._lanes

    def has_way(self, lane: str, class_: TrafficClass) -> bool:
        """Whether anything that waits for a lane in a class may have another that is up."""
        others = {name for name, other in self._lanes.items() if class_ in other.classes} - {lane, *self.down}
        return any(
            lane in route.lane_names and not others.isdisjoint(route.lane_names)
            for route in self.router.routes
            if route.class_ in (None, class_)
        ) or not any(lane in route.lane_names for route in self.router.routes)

    def address(self, lane: str, message: Message) -> Address:
        """Return where a message waits for a lane: a person's messages of a class keep to one partition, and so their order."""
        config = self._lanes[lane]
        topic = topic_of(self._kafka, config, message.class_, message.tenant)
        return topic, partition_of(message.to.encode(), config.slots)


def with_step(message: Message, step: int, attempt: int) -> Message:
    """Return what goes on with a step of its plan (from 0), as this attempt: the first of its channel."""
    said = message.plan[step]
    return replace(
        message,
        channel=said.channel,
        to=said.to or message.to,
        sender=said.sender,
        text=said.text,
        content=said.content,
        plan=message.plan[step + 1 :],
        attempt=attempt,
        first_attempt=attempt,
        accepted_ids=(),
        tried=(),
        doubtful=False,
    )
