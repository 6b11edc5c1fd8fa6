"""What the services that look at pictures share: request forms, size limits, decoding, boxes.

Nothing here knows a model.
"""
