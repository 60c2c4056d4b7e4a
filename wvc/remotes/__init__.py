"""Where repositories are shared. A file behind this door is a kind of place, its name the scheme of its addresses.

It has one function `open(url, *, token=None) -> Remote`. A remote knows names and bytes, and nothing of what they mean:
what to send and what to believe is for those who use it. The contract is that of Remote; tests/remotes/test_door.py
holds every one to it.
"""

from wvc.remotes._remote import Kind, Remote

__all__ = ["Kind", "Remote"]
