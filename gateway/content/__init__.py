"""What a job says besides recipients, for every channel: what is allowed, and what each recipient gets of it."""

from gateway.content.compiler import compile  # noqa: A004 (as re.compile is)
from gateway.content.model import MAX_TEXT, Channel, Content
from gateway.content.renderer import Rendered, Renderer, Unrenderable

__all__ = ["MAX_TEXT", "Channel", "Content", "Rendered", "Renderer", "Unrenderable", "compile"]
