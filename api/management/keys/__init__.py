"""Virtual keys: made, shown, changed, rotated and removed over LiteLLM's `/key/*`, and from the command line."""

from api.management.keys.desk import KeyBounds, KeyDefaults, KeyDesk, KeyGeneration, KeyRules
from api.management.keys.routes import ROUTER

__all__ = ["ROUTER", "KeyBounds", "KeyDefaults", "KeyDesk", "KeyGeneration", "KeyRules"]
