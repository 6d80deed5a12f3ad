"""The assistant: a larger network that learns the answers and then teaches the student."""

from kdistill.assistant.assistant import Assistant
from kdistill.assistant.network import build_assistant

__all__ = ["Assistant", "build_assistant"]
