"""wetread: drafts radiology reports, and trains, scores and reviews the models that draft them.

A research tool. Every draft is for a radiologist to verify; nothing here is a medical device.

The rooms, from the top down: ``cli``, ``demo``, ``training`` and ``review``, ``runs``, ``rewards``,
``studies`` with ``prompts`` and ``metrics``, ``knowledge`` with ``models``, ``records``, ``registry``, ``errors``.
Importing this package imports none of them.
"""

__version__ = "0.1.0"
